#!/bin/sh
# `postgres` as the usual image runs it: a cluster made once, password logins from anywhere. Anything else is executed.
set -eu
case "${1:-}" in
-* | "") ;;
*) exec "$@" ;;
esac
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" > "$password"
    initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$password" -E UTF8 --auth-local=trust --auth-host=scram-sha-256
    rm "$password"
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    createdb -U "$POSTGRES_USER" "$POSTGRES_DB" 2> /dev/null || true
    for file in /docker-entrypoint-initdb.d/*.sh; do
        [ ! -e "$file" ] || sh "$file"
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec postgres -D "$PGDATA" -c "listen_addresses=*" "$@"
