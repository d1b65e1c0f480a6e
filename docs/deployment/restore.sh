#!/usr/bin/env bash
# restore.sh FOLDER: starts a deployment whose volumes and bucket are empty from a copy that backup.sh has made.
set -euo pipefail
folder=$(realpath "$1")
cd "$(dirname "$0")"

docker compose up --detach --wait postgres
docker compose run --rm -T bucket
for database in dagster mlflow; do
  docker compose exec -T postgres pg_restore --username llm_assets --dbname "$database" --exit-on-error \
    --single-transaction <"$folder/$database.dump"
done

# Files before the records that name them.
rclone() {
  docker compose run --rm -T --user "$(id -u):$(id -g)" --volume "$folder:/backup" rclone "$@"
}
rclone copy /backup/bucket bucket: --exclude '/store/.records/**'
rclone copy /backup/bucket bucket: --include '/store/.records/**'

docker compose run --rm -T --no-deps code tar --extract --directory /data <"$folder/data.tar"
docker compose up --detach
