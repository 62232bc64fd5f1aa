#!/usr/bin/env bash
# Plays the Redshift Serverless guide, steps 2 to 4, on this one machine: real PostgreSQL in place of Redshift, an
# emulator in place of AWS, everything else as in the guide. Ends in psql on a terminal, else runs a few queries.
#
# SALLYPORT_DEMO_PORT, SALLYPORT_DEMO_AWS_PORT, SALLYPORT_DEMO_DATABASE_PORT: ports in place of 3080, 4566 and 5439.
# SALLYPORT_DEMO_CONFIG: configuration file to make in place of /etc/teleport.yaml.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
export PATH="${SALLYPORT_BIN:-$root/.build/release}:$PATH"

port=${SALLYPORT_DEMO_PORT:-3080}
aws_port=${SALLYPORT_DEMO_AWS_PORT:-4566}
database_port=${SALLYPORT_DEMO_DATABASE_PORT:-5439}
uri_host=some-workgroup.123456789012.us-east-1.redshift-serverless.amazonaws.com
marker="# sallyport demo on port $port"
work=$(mktemp -d)
chmod 755 "$work"
pids=()

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# /etc/hosts may be a mount point, as in containers: written in place, never replaced.
remove_host() { grep -v "$marker\$" /etc/hosts >"$work/hosts" && as_root sh -c "cat '$work/hosts' > /etc/hosts"; }

clean_up() {
  local status=$?
  trap - EXIT
  # Cleaning up is not to be cut short, not even by the loss of the terminal it prints on.
  trap '' INT TERM HUP
  set +e
  if [ $status -ne 0 ]; then
    echo "The demo failed. Last lines of the logs:" >&2
    tail -n 15 "$work"/*.log >&2 || true
  fi
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  Tests/EndToEnd/postgres.sh stop "$work/pg" 2>/dev/null || true
  remove_host || true
  [ -n "${config:-}" ] && [ -e "$work/made-config" ] && as_root rm -f "$config"
  as_root rm -rf "$work"
  exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Prints a command of the guide as the guide has it, then runs it.
guide() { printf '$ %s\n' "$1"; eval "$1"; }
wait_for() {
  for _ in $(seq 150); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done
  echo "timed out waiting for: $*" >&2
  exit 1
}
start_teleport() {
  # In a session of its own: ctrl-C in psql is for psql.
  setsid teleport start "$@" >>"$work/teleport.log" 2>&1 &
  pids+=($!)
  teleport_pid=$!
  wait_for tctl status
}

for p in $port $aws_port $database_port; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then echo "Port $p is in use; free it and try again." >&2; exit 1; fi
done

say "Stage: a PostgreSQL that plays the workgroup, and an emulator that plays AWS (IMDSv2, STS, redshift-serverless)"
Tests/EndToEnd/postgres.sh start "$work/pg" $database_port
superuser=$([ "$(id -u)" = 0 ] && echo postgres || id -un)
.venv/bin/python Tests/AWSEmulator/emulator.py --port $aws_port --world Tests/AWSEmulator/world.json \
  --postgres "host=$work/pg port=$database_port user=$superuser dbname=dev" >"$work/aws.log" 2>&1 &
pids+=($!)
wait_for curl -s -o /dev/null "http://127.0.0.1:$aws_port/_control/counters"
echo "The workgroup's host name must lead to this machine: adding a line to /etc/hosts for the time of the demo."
as_root sh -c "echo '127.0.0.1 $uri_host $marker' >> /etc/hosts"

export TELEPORT_HOME=$work/tsh SSL_CERT_FILE=$work/bundle.pem
export AWS_ENDPOINT_URL=http://127.0.0.1:$aws_port AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:$aws_port
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
cp "$work/pg/ca.pem" "$work/bundle.pem"

say "Prerequisite: a running cluster, and a user in it"
teleport configure --cluster-name=localhost --public-addr=localhost:$port --data-dir="$work/data" -o "$work/cluster.yaml" >/dev/null
export TELEPORT_CONFIG_FILE=$work/cluster.yaml
start_teleport
cat "$work/data/admin/ca.pem" >>"$work/bundle.pem"
guide "tctl users add alice --roles=editor,access" | tee "$work/invite"
password="correct horse battery staple"
printf '%s\n' "$password" >"$work/password"
echo "(alice opens the link and chooses a password: here with curl)"
curl -sS --fail --cacert "$work/bundle.pem" --data-urlencode "password=$password" "$(grep -o 'https://[^ ]*' "$work/invite")" >/dev/null
echo "(--password-file stands for typing the password)"
guide "tsh login --proxy=localhost:$port --user=alice --password-file=$work/password"
# With alice's own rights, as from any workstation: no configuration of the cluster's host in sight.
guide "tctl status"

say "Step 2/4. Create a Teleport role for Redshift Serverless access"
cd "$work"
cat >redshift-role.yaml <<'YAML'
version: v5
kind: role
metadata:
  name: redshift-serverless-access
spec:
  allow:
    db_labels:
      '*': '*'
    db_names:
    - dev
    db_users:
    - 'teleport-redshift-serverless-access'
YAML
cat redshift-role.yaml
guide "tctl create -f redshift-role.yaml"
guide "ROLES=\$(tsh status -f json | jq -r '.active.roles | join(\",\")')"
guide "tctl users update \$(tsh status -f json | jq -r '.active.username') \\
  --set-roles \"\${ROLES?},redshift-serverless-access\""
guide "tsh logout"
guide "tsh login --proxy=localhost:$port --user=alice --password-file=$work/password"

say "Step 3/4. Install and start the Teleport Database Service"
guide "tctl tokens add --type=db --format=text > $work/token"
config=${SALLYPORT_DEMO_CONFIG:-/etc/teleport.yaml}
output=$config
[ "$config" != /etc/teleport.yaml ] || output=file
if [ -e "$config" ] || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
  echo "($config is taken or not ours to write: using $work/teleport.yaml)"
  config=$work/teleport.yaml output=$work/teleport.yaml
fi
echo "(--data-dir tells where this demo's cluster keeps its state)"
create="teleport db configure create \\
  -o $output \\
  --name=\"redshift-serverless\" \\
  --proxy=localhost:$port \\
  --protocol=postgres \\
  --uri=$uri_host:$database_port \\
  --token=$work/token --data-dir=$work/data"
guide "$create"
touch "$work/made-config"
export TELEPORT_CONFIG_FILE=$config
echo "(systemctl start teleport: this demo starts it by hand)"
kill $teleport_pid
wait $teleport_pid 2>/dev/null || true
start_teleport
cd "$root"

say "Is the way open? teleport db doctor looks at every link of it: first with the instance's credentials out of reach"
doctor="teleport db doctor redshift-serverless --db-user=teleport-redshift-serverless-access"
printf '$ AWS_EC2_METADATA_DISABLED=true %s\n' "$doctor"
if AWS_EC2_METADATA_DISABLED=true $doctor; then
  echo "The doctor has found nothing broken where the credentials are out of reach." >&2
  exit 1
fi
guide "$doctor"

say "Step 4/4. Connect"
guide "tsh login --proxy=localhost:$port --user=alice --password-file=$work/password"
guide "tsh db ls"
connect="tsh db connect redshift-serverless --db-user=teleport-redshift-serverless-access --db-name=dev"
if [ -t 0 ] && [ -t 1 ]; then
  echo "You are the person in psql now; \\q ends the demo."
  # Ctrl-C is for the query: without a handler of its own this script would end with it.
  trap : INT
  guide "$connect" || true
  trap 'exit 130' INT
else
  printf '$ %s\n' "$connect"
  $connect -- -X -v ON_ERROR_STOP=1 <<'SQL' | tee "$work/answer"
\conninfo
select current_user, current_database();
create table demo (n int);
insert into demo select generate_series(1, 1000);
select count(*), sum(n) from demo;
drop table demo;
SQL
  grep -q 'IAMR:teleport-redshift-serverless-access' "$work/answer"
  grep -q '500500' "$work/answer"
fi
guide "tsh db logout redshift-serverless"
say "The demo is over: the session ran as IAMR:teleport-redshift-serverless-access, with a password that GetCredentials gave."
