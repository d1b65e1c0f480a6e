-- Run once, when the server's data folder is empty. The image itself creates the database of Dagster.
CREATE DATABASE mlflow;
