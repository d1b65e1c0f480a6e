"""Creates the bucket of the environment's BUCKET, unless it exists.

The account needs the right to create buckets only if there is none.
"""

import os
import sys

import boto3
from botocore.exceptions import ClientError

bucket, region = os.environ["BUCKET"], os.environ["AWS_REGION"]
client = boto3.client("s3", region_name=region)
try:
    client.head_bucket(Bucket=bucket)
except ClientError as error:  # the answer to HEAD has no message
    if error.response["Error"]["Code"] != "404":
        sys.exit(f"bucket {bucket} in {region}: {error}; it belongs to another account, or this one may not list it")
    # us-east-1 is the default, which S3 refuses as a name.
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=bucket, **place)
