#!/bin/sh
# Run once, when the volume is empty: a database for registry and product index beside Dagster's.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -c "CREATE DATABASE roman"
