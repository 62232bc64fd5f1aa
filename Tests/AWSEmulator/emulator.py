"""Plays the parts of AWS that a login needs: IMDSv2, STS AssumeRole and redshift-serverless GetCredentials.

Every signature is computed again with botocore's own signer and compared. GetCredentials sets a fresh temporary
password on the role's user of a throwaway PostgreSQL, so that a connection can only succeed through the whole chain.

Run: emulator.py --port 4600 --world world.json --postgres "host=/tmp/pg port=5433 user=postgres dbname=dev"
"""

import argparse
import datetime
import http.server
import json
import secrets
import threading
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import psycopg
from psycopg import sql

MAX_SKEW = 300
PASSWORD_LIFETIME = 900


class Refusal(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class World:
    """Principals, roles and workgroups, and the sessions handed out so far."""

    def __init__(self, description, postgres):
        self.roles = description["roles"]
        self.workgroups = description["workgroups"]
        self.instance_role = description.get("instance_role")
        self.postgres = postgres
        self.lock = threading.Lock()
        # access key id -> secret, token, principal ARN as in error texts, ARN that trust policies name, end
        self.keys = {}
        for user in description.get("users", []):
            self.keys[user["access_key_id"]] = dict(
                secret=user["secret_access_key"], token=None, shown=user["arn"], trusted=user["arn"],
                permissions=user.get("permissions", []), end=None, chained=False)
        self.passwords = {}
        self.counters = {}
        self.faults = []
        self.imds_tokens = set()
        self.next_password = None
        # Seconds by which AWS's clock is ahead of this host's.
        self.ahead = 0

    def now(self):
        return time.time() + self.ahead

    def count(self, action):
        with self.lock:
            self.counters[action] = self.counters.get(action, 0) + 1

    def session(self, arn, name, chained, lifetime=3600):
        account, role_name = arn.split(":")[4], arn.split("/")[-1]
        key = "ASIA" + secrets.token_hex(8).upper()
        entry = dict(
            secret=secrets.token_urlsafe(30), token=secrets.token_urlsafe(60),
            shown=f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}", trusted=arn,
            permissions=self.roles[arn].get("permissions", []), end=self.now() + lifetime, chained=chained)
        with self.lock:
            self.keys[key] = entry
        return key, entry

    def temporary_password(self, role_name):
        """One password a role at a time: PostgreSQL, unlike Redshift, keeps only the latest."""
        with self.lock:
            known = self.passwords.get(role_name)
            if self.next_password is None and known and known[1] - time.time() > PASSWORD_LIFETIME / 2:
                return known
            user = f"IAMR:{role_name}"
            password, self.next_password = self.next_password or secrets.token_urlsafe(24), None
            end = time.time() + PASSWORD_LIFETIME
            with psycopg.connect(self.postgres, autocommit=True) as connection:
                if not connection.execute("select 1 from pg_roles where rolname = %s", (user,)).fetchone():
                    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(user)))
                stamp = datetime.datetime.fromtimestamp(end, datetime.timezone.utc).isoformat()
                connection.execute(
                    sql.SQL("alter role {} password {} valid until {}").format(
                        sql.Identifier(user), sql.Literal(password), sql.Literal(stamp)))
            self.passwords[role_name] = (password, end)
            return self.passwords[role_name]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def log_message(self, *arguments):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(self.world.now() if timestamp is None else timestamp)

    # IMDSv2

    def do_PUT(self):
        if self.path != "/latest/api/token":
            return self.answer(404, b"")
        token = secrets.token_urlsafe(24)
        self.world.imds_tokens.add(token)
        self.answer(200, token.encode())

    def do_GET(self):
        if self.path == "/_control/counters":
            return self.answer(200, json.dumps(self.world.counters).encode())
        if self.path == "/_control/secrets":
            with self.world.lock:
                known = [password for password, _ in self.world.passwords.values()]
                known += [key["secret"] for key in self.world.keys.values()]
                known += [key["token"] for key in self.world.keys.values() if key["token"]]
            return self.answer(200, json.dumps(known).encode())
        if self.headers.get("X-aws-ec2-metadata-token") not in self.world.imds_tokens:
            return self.answer(401, b"")
        folder = "/latest/meta-data/iam/security-credentials/"
        role = self.world.instance_role
        if role is None or not self.path.startswith(folder):
            return self.answer(404, b"")
        name = role.split("/")[-1]
        if self.path == folder:
            return self.answer(200, name.encode())
        self.world.count("InstanceCredentials")
        key, entry = self.world.session(role, "i-0123456789abcdef0", chained=False)
        self.answer(200, json.dumps({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key, "SecretAccessKey": entry["secret"],
            "Token": entry["token"], "Expiration": iso(entry["end"])}).encode())

    # Signed calls

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_control/faults":
            with self.world.lock:
                self.world.faults = json.loads(body)
                self.world.ahead = 0
            return self.answer(200, b"{}")
        if self.path == "/_control/clock":
            self.world.ahead = json.loads(body)["ahead"]
            return self.answer(200, b"{}")
        target = self.headers.get("X-Amz-Target", "")
        service = "redshift-serverless" if target.startswith("RedshiftServerless.") else "sts"
        try:
            action = target.split(".")[-1] or urllib.parse.parse_qs(body.decode()).get("Action", [""])[0]
            self.world.count(action)
            if self.fault(action):
                return
            caller = self.authenticate(body, service)
            if action == "AssumeRole":
                self.assume_role(dict(urllib.parse.parse_qsl(body.decode())), caller)
            elif action == "GetCallerIdentity":
                self.caller_identity(caller)
            elif action == "GetCredentials":
                self.get_credentials(json.loads(body), caller)
            else:
                raise Refusal(400, "InvalidAction", f"Could not find operation {action}")
        except Refusal as refusal:
            self.refuse(service, refusal)

    def fault(self, action):
        with self.world.lock:
            wanted = next((f for f in self.world.faults if f["action"] == action and f["times"] > 0), None)
            if wanted is None:
                return False
            wanted["times"] -= 1
        kind = wanted["kind"]
        if kind == "delay":
            time.sleep(wanted["seconds"])
            return False
        if kind == "throttle":
            self.refuse(wanted.get("service", "redshift-serverless"), Refusal(400, "ThrottlingException", "Rate exceeded"))
        elif kind == "expired":
            self.refuse(wanted.get("service", "redshift-serverless"), Refusal(
                403, "ExpiredToken", "The security token included in the request is expired"))
        elif kind == "error":
            self.answer(500, b"internal failure")
        elif kind == "stall":
            # The head of an answer and the beginning of its body, then nothing.
            self.send_response(200)
            self.send_header("Content-Length", "4096")
            self.end_headers()
            self.wfile.write(b"<")
            self.wfile.flush()
            time.sleep(wanted["seconds"])
            self.close_connection = True
        elif kind == "password":
            # An answer as good as any, but with this temporary password.
            self.world.next_password = wanted["text"]
            return False
        elif kind == "malformed":
            self.answer(200, b"{<not an answer")
        elif kind == "huge":
            self.answer(200, b"x" * (8 << 20))
        elif kind == "redirect":
            self.answer(302, b"", [("Location", "http://127.0.0.1:1/")])
        elif kind == "doctype":
            self.answer(200, b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
        return True

    def authenticate(self, body, service):
        header = self.headers.get("Authorization", "")
        fields = dict(part.strip().split("=", 1) for part in header.removeprefix("AWS4-HMAC-SHA256 ").split(",") if "=" in part)
        scope = fields.get("Credential", "").split("/")
        if len(scope) != 5:
            raise Refusal(403, "MissingAuthenticationToken", "Missing Authentication Token")
        key, _, region, named_service, _ = scope
        entry = self.world.keys.get(key)
        if entry is None:
            raise Refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        if named_service != service:
            raise Refusal(403, "SignatureDoesNotMatch", f"Credential should be scoped to correct service: '{service}'.")
        stamp = self.headers.get("X-Amz-Date", "")
        signed_at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
        if abs(self.world.now() - signed_at) > MAX_SKEW:
            raise Refusal(403, "SignatureDoesNotMatch", f"Signature expired: {stamp} is too far from now")
        request = botocore.awsrequest.AWSRequest(
            method=self.command, url=f"http://{self.headers['Host']}{self.path}", data=body,
            headers={name: self.headers[name] for name in fields["SignedHeaders"].split(";") if name != "host"})
        request.context["timestamp"] = stamp
        signer = botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(key, entry["secret"], entry["token"]), service, region)
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        if not secrets.compare_digest(signature, fields.get("Signature", "")):
            raise Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match yours.")
        if entry["token"] != self.headers.get("X-Amz-Security-Token"):
            raise Refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        if entry["end"] and entry["end"] < self.world.now():
            raise Refusal(403, "ExpiredToken", "The security token included in the request is expired")
        return entry

    def assume_role(self, form, caller):
        arn = form.get("RoleArn", "")
        role = self.world.roles.get(arn)
        trusted = role is not None and caller["trusted"] in role["trust"]
        if not trusted or form.get("ExternalId") != role.get("external_id"):
            raise Refusal(
                403, "AccessDenied", f"User: {caller['shown']} is not authorized to perform: sts:AssumeRole on resource: {arn}")
        lifetime = int(form.get("DurationSeconds", 3600))
        chained = caller["end"] is not None
        if chained and lifetime > 3600:
            raise Refusal(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
        key, entry = self.world.session(arn, form["RoleSessionName"], chained, lifetime)
        self.xml("AssumeRole", f"""<Credentials><AccessKeyId>{key}</AccessKeyId>
            <SecretAccessKey>{entry['secret']}</SecretAccessKey><SessionToken>{entry['token']}</SessionToken>
            <Expiration>{iso(entry['end'])}</Expiration></Credentials>
            <AssumedRoleUser><Arn>{entry['shown']}</Arn></AssumedRoleUser>""")

    def caller_identity(self, caller):
        self.xml("GetCallerIdentity", f"<Arn>{caller['shown']}</Arn><Account>{caller['shown'].split(':')[4]}</Account>")

    def get_credentials(self, call, caller):
        if "redshift-serverless:GetCredentials" not in caller["permissions"]:
            raise Refusal(
                400, "AccessDeniedException",
                f"User: {caller['shown']} is not authorized to perform: redshift-serverless:GetCredentials")
        if call.get("workgroupName") not in self.world.workgroups:
            raise Refusal(400, "ResourceNotFoundException", f"Workgroup {call.get('workgroupName')} not found")
        role_name = caller["trusted"].split("/")[-1]
        password, end = self.world.temporary_password(role_name)
        self.answer(200, json.dumps({
            "dbUser": f"IAMR:{role_name}", "dbPassword": password, "expiration": end,
            "nextRefreshTime": time.time() + PASSWORD_LIFETIME / 2}).encode(),
            [("Content-Type", "application/x-amz-json-1.1")])

    # Answers

    def xml(self, action, result):
        text = f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}
            </{action}Result><ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata></{action}Response>"""
        self.answer(200, text.encode(), [("Content-Type", "text/xml")])

    def refuse(self, service, refusal):
        if service == "sts":
            body = f"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
                <Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error></ErrorResponse>"""
        else:
            body = json.dumps({"__type": refusal.code, "message": refusal.message})
        self.answer(refusal.status, body.encode())

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def iso(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def serve(port, description, postgres):
    """Makes a server on the loopback interface; the caller runs `serve_forever`."""
    handler = type("BoundHandler", (Handler,), {"world": World(description, postgres)})
    return Server(("127.0.0.1", port), handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--world", required=True)
    parser.add_argument("--postgres", required=True)
    arguments = parser.parse_args()
    with open(arguments.world) as file:
        description = json.load(file)
    serve(arguments.port, description, arguments.postgres).serve_forever()


if __name__ == "__main__":
    main()
