#!/usr/bin/env bash
# backup.sh FOLDER: a copy of a running deployment. Builds may run meanwhile; deletions (gc, takedown) may not.
#
# The order makes the copy consistent. What is copied first names what is copied later: histories name artifacts, and
# records name files. An artifact that is built in between has files in the copy, but no record. (restore.sh writes in
# the opposite order, files before the records that name them.)
set -euo pipefail
mkdir -p "$1"
folder=$(realpath "$1")
cd "$(dirname "$0")"

for database in dagster mlflow; do
  docker compose exec -T postgres pg_dump --username llm_assets --format custom "$database" >"$folder/$database.dump"
done

# What no other place has; logs may grow meanwhile, for which tar's status is 1. The copies in the cache are left out,
# and with them the name of this cache, which no second one may have.
docker compose exec -T code tar --create --directory /data --exclude './cache/[!.]*' --exclude ./cache/.staging \
  --exclude ./cache/.machine --exclude ./cache/.objects.sqlite --exclude ./processes . >"$folder/data.tar" || [ $? = 1 ]

rclone() {
  docker compose run --rm -T --user "$(id -u):$(id -g)" --volume "$folder:/backup" rclone "$@"
}
rclone sync bucket: /backup/bucket --include '/store/.records/**'
# Of builds in progress only the announcement, by which `gc` finds their files. Their tasks are left out: a task's
# marker names scratch files, which disappear when the build ends.
rclone sync bucket: /backup/bucket --filter '- /store/.records/**' --filter '- /store/.locks/**' \
  --filter '+ /store/.staging/*/*/*/upload.json' --filter '- /store/.staging/**'
