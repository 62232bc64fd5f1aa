"""A custom domain comes to stand for another workgroup while the service runs."""

import subprocess

import pytest

from conftest import BIN, ROOT, wait_until

ENDPOINT = "{}.123456789012.us-east-1.redshift-serverless.amazonaws.com\n"


def test_what_a_custom_domain_stands_for_is_looked_up_again(cluster, tmp_path):
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("namespaces need root")
    target, log, ready = tmp_path / "target", tmp_path / "log", tmp_path / "ready"
    target.write_text(ENDPOINT.format("first"))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "teleport.yaml").write_text(f"""version: v3
teleport: {{data_dir: {cluster.data}}}
auth_service: {{enabled: yes, cluster_name: test}}
proxy_service: {{enabled: yes, web_listen_addr: 127.0.0.1:{cluster.port}, public_addr: localhost:{cluster.port}}}
db_service:
  enabled: yes
  databases: [{{name: d, protocol: postgres, uri: 'data.example.test:5439', aws: {{region: us-east-1}}}}]
""")
    (tmp_path / "network.sh").write_text(f"""set -e
ip link set lo up
mount --bind "{tmp_path}/resolv.conf" /etc/resolv.conf
READY={ready} "{ROOT}/.venv/bin/python" "{ROOT}/Tests/EndToEnd/name_server.py" data.example.test {target} &
trap "kill $!" EXIT
until [ -e {ready} ]; do sleep 0.05; done
timeout 90 "{BIN}/teleport" start -c "{tmp_path}/teleport.yaml" 2> "{log}" &
echo $! > "{tmp_path}/pid"
wait $! || true
""")
    cluster.stop_teleport()
    host = subprocess.Popen(["unshare", "--net", "--mount", "sh", tmp_path / "network.sh"], env=cluster.environment)
    try:
        wait_until(lambda: log.exists() and "serving" in log.read_text(), "the service", seconds=30)
        target.write_text(ENDPOINT.format("second"))
        wait_until(
            lambda: "db/d is now data.example.test:5439, workgroup 'second'" in log.read_text(), "the second look", seconds=40)
        assert "was data.example.test:5439, workgroup 'first'" in log.read_text()
        # What is no name of Redshift changes nothing.
        target.write_text("elsewhere.example.test\n")
        wait_until(lambda: "db/d stays data.example.test:5439, workgroup 'second'" in log.read_text(), "the third", seconds=40)
    finally:
        subprocess.run(["kill", (tmp_path / "pid").read_text().strip()], check=False)
        host.wait(timeout=30)
        cluster.start_teleport()
