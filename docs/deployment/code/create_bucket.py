"""Creates the bucket of the environment's BUCKET, unless it exists."""

import os

import boto3

client = boto3.client("s3")
try:
    client.create_bucket(Bucket=os.environ["BUCKET"])
except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
    client.head_bucket(Bucket=os.environ["BUCKET"])  # raises ClientError for a bucket of another account
