"""Plays the parts of AWS that a login needs: sources of credentials (sources.py), STS, redshift-serverless GetCredentials,
provisioned clusters (clusters.py) and what there is to find (inventory.py).

Every signature is computed again with botocore's own signer and compared. GetCredentials sets a fresh temporary
password on the role's user of a throwaway PostgreSQL, so that a connection can only succeed through the whole chain.

Run: emulator.py --port 4600 --world world.json --postgres "host=/tmp/pg port=5433 user=postgres dbname=dev"
"""

import argparse
import contextlib
import datetime
import http.server
import json
import secrets
import socket
import threading
import time
import urllib.parse
import uuid

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import psycopg
from psycopg import sql

from clusters import ClusterEndpoints
from inventory import Inventory, InventoryEndpoints
from sources import SourceEndpoints

MAX_SKEW = 300
PASSWORD_LIFETIME = 900


class Refusal(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class World:
    """Principals, roles and workgroups, and the sessions handed out so far."""

    @staticmethod
    def workgroup_arn(name, region="us-east-1", account="123456789012"):
        """It ends in an ID that the name does not tell."""
        return f"arn:aws:redshift-serverless:{region}:{account}:workgroup/{uuid.uuid5(uuid.NAMESPACE_DNS, str(name))}"

    def __init__(self, description, postgres):
        self.roles = description["roles"]
        self.workgroups = description["workgroups"]
        self.instance_role = description.get("instance_role")
        self.containers = description.get("containers", {})
        self.clusters = description.get("clusters", [])
        self.inventory = Inventory()
        self.sso_tokens = {description.get("sso_token")}
        # Each is good once.
        self.sso_refresh_tokens = {description.get("sso_refresh_token")}
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
        # The same role is given the same credentials, so that two programs can be compared; None: it is not.
        self.sticky = None
        # Seconds that role sessions and passwords last at most.
        self.longest_session, self.password_lifetime = 43200, PASSWORD_LIFETIME
        # Who assumed which role, under which session name, with which external ID.
        self.assumed = []

    def now(self):
        return time.time() + self.ahead

    def count(self, action):
        with self.lock:
            self.counters[action] = self.counters.get(action, 0) + 1

    def session(self, arn, name, chained, lifetime=3600):
        account, role_name = arn.split(":")[4], arn.split("/")[-1]
        if self.sticky is not None and arn in self.sticky:
            return self.sticky[arn]
        lifetime = min(lifetime, self.longest_session)
        key = "ASIA" + secrets.token_hex(8).upper()
        entry = dict(
            secret=secrets.token_urlsafe(30), token=secrets.token_urlsafe(60),
            shown=f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}", trusted=arn,
            permissions=self.roles[arn].get("permissions", []), end=self.now() + lifetime, chained=chained)
        with self.lock:
            self.keys[key] = entry
            if self.sticky is not None:
                self.sticky[arn] = (key, entry)
        return key, entry

    @staticmethod
    def iso(seconds):
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def temporary_password(self, user):
        """One password a user at a time: PostgreSQL, unlike Redshift, keeps only the latest."""
        with self.lock:
            known = self.passwords.get(user)
            if self.next_password is None and known and known[1] - time.time() > self.password_lifetime / 2:
                return known
            password, self.next_password = self.next_password or secrets.token_urlsafe(24), None
            end = time.time() + self.password_lifetime
            with psycopg.connect(self.postgres, autocommit=True) as connection:
                if not connection.execute("select 1 from pg_roles where rolname = %s", (user,)).fetchone():
                    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(user)))
                stamp = datetime.datetime.fromtimestamp(end, datetime.timezone.utc).isoformat()
                connection.execute(
                    sql.SQL("alter role {} password {} valid until {}").format(
                        sql.Identifier(user), sql.Literal(password), sql.Literal(stamp)))
            self.passwords[user] = (password, end)
            return self.passwords[user]


class Handler(SourceEndpoints, ClusterEndpoints, InventoryEndpoints, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World
    Refusal = Refusal

    def log_message(self, *arguments):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(self.world.now() if timestamp is None else timestamp)

    def do_PUT(self):
        self.issue_imds_token()

    def do_GET(self):
        if self.path == "/_control/counters":
            return self.answer(200, json.dumps(self.world.counters).encode())
        if self.path == "/_control/secrets":
            with self.world.lock:
                known = [password for password, _ in self.world.passwords.values()]
                known += [key["secret"] for key in self.world.keys.values()]
                known += [key["token"] for key in self.world.keys.values() if key["token"]]
            return self.answer(200, json.dumps(known).encode())
        if self.path == "/_control/assumed":
            return self.answer(200, json.dumps(self.world.assumed).encode())
        if self.path.startswith("/_control/keys/"):
            return self.answer(200, json.dumps(self.world.keys.get(self.path.split("/")[-1])).encode())
        self.give_source_credentials()

    # Signed calls

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_control/faults":
            with self.world.lock:
                self.world.faults = json.loads(body)
                self.world.ahead = 0
            return self.answer(200, b"{}")
        if self.path == "/_control/sso":
            with self.world.lock:
                self.world.sso_refresh_tokens |= set(json.loads(body)["refresh"])
            return self.answer(200, b"{}")
        if self.path == "/_control/clock":
            self.world.ahead = json.loads(body)["ahead"]
            return self.answer(200, b"{}")
        if self.path == "/_control/inventory":
            self.world.inventory.replace(json.loads(body))
            return self.answer(200, b"{}")
        if self.path == "/_control/permissions":
            for arn, permissions in json.loads(body).items():
                self.world.roles[arn]["permissions"][:] = permissions
            return self.answer(200, b"{}")
        if self.path == "/_control/sticky":
            self.world.sticky = {} if json.loads(body) else None
            return self.answer(200, b"{}")
        if self.path == "/_control/lifetimes":
            wanted = json.loads(body)
            self.world.longest_session = wanted.get("session", 43200)
            self.world.password_lifetime = wanted.get("password", PASSWORD_LIFETIME)
            self.world.passwords.clear()
            return self.answer(200, b"{}")
        if self.path == "/token":
            return self.renew_sso_token(json.loads(body))
        target = self.headers.get("X-Amz-Target", "")
        form = {} if target else dict(urllib.parse.parse_qsl(body.decode()))
        action = target.split(".")[-1] or form.get("Action", "")
        service = (
            "redshift-serverless" if target.startswith("RedshiftServerless.")
            else "redshift" if action in self.ACTIONS else "sts")
        try:
            self.world.count(action)
            if self.fault(action):
                return
            if action == "AssumeRoleWithWebIdentity":
                return self.assume_role_with_web_identity(form)
            caller = self.authenticate(body, service)
            if action == "AssumeRole":
                self.assume_role(form, caller)
            elif action == "GetCallerIdentity":
                self.caller_identity(caller)
            elif action == "GetCredentials":
                self.get_credentials(json.loads(body), caller)
            elif action in self.SERVERLESS:
                self.serverless(action, json.loads(body), caller)
            elif action in self.ACTIONS:
                self.clusters(action, form, caller)
            else:
                raise Refusal(400, "InvalidAction", f"Could not find operation {action}")
        except Refusal as refusal:
            self.refuse(service, refusal)

    def fault(self, action):
        with self.world.lock:
            wanted = next((
                f for f in self.world.faults
                if f["action"] == action and f["times"] > 0 and f.get("region") in (None, self.region)), None)
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
        elif kind == "denied":
            self.refuse(wanted.get("service", "redshift-serverless"), Refusal(
                400, "AccessDeniedException", f"not authorized to perform: {action} because of a fault"))
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
        elif kind in ("huge", "endless"):
            self.pour(100 << 20, is_told=kind == "huge")
        elif kind == "redirect":
            self.answer(302, b"", [("Location", "http://127.0.0.1:1/")])
        elif kind == "doctype":
            self.answer(200, b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
        return True

    def pour(self, size, is_told):
        """That many bytes, or as many as are taken: counter `Poured` has them at the end. `is_told`: by Content-Length, or
        in chunks."""
        # What waits in the kernel would count as taken.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        self.send_response(200)
        self.send_header(*(("Content-Length", str(size)) if is_told else ("Transfer-Encoding", "chunked")))
        self.end_headers()
        piece, poured = b"x" * (1 << 14), 0
        with contextlib.suppress(OSError):
            while poured < size:
                self.wfile.write(piece if is_told else b"%x\r\n%s\r\n" % (len(piece), piece))
                poured += len(piece)
        self.close_connection = True
        with self.world.lock:
            self.world.counters["Poured"] = self.world.counters.get("Poured", 0) + poured

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
        self.world.assumed.append(dict(
            role=arn, by=caller["trusted"], session=form["RoleSessionName"], external_id=form.get("ExternalId"),
            duration=lifetime))
        key, entry = self.world.session(arn, form["RoleSessionName"], chained, lifetime)
        self.xml("AssumeRole", self.credentials_element(key, entry))

    def credentials_element(self, key, entry):
        return f"""<Credentials><AccessKeyId>{key}</AccessKeyId>
            <SecretAccessKey>{entry['secret']}</SecretAccessKey><SessionToken>{entry['token']}</SessionToken>
            <Expiration>{self.world.iso(entry['end'])}</Expiration></Credentials>
            <AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{entry['shown']}</Arn></AssumedRoleUser>"""

    def caller_identity(self, caller):
        self.xml("GetCallerIdentity", f"""<Arn>{caller['shown']}</Arn><UserId>AROA:x</UserId>
            <Account>{caller['shown'].split(':')[4]}</Account>""")

    def permit(self, caller, action, resource):
        """Refuses unless the caller may do that."""
        if action not in caller["permissions"]:
            raise self.denial(
                caller, action, f" on resource: {resource} because no identity-based policy allows the {action} action")

    @staticmethod
    def denial(caller, action, more=""):
        status, code = (400, "AccessDeniedException") if action.startswith("redshift-serverless:") else (403, "AccessDenied")
        return Refusal(status, code, f"User: {caller['shown']} is not authorized to perform: {action}{more}")

    def get_credentials(self, call, caller):
        self.permit(
            caller, "redshift-serverless:GetCredentials",
            self.world.workgroup_arn(call.get("workgroupName"), self.region, self.account(caller)))
        if call.get("workgroupName") not in self.world.workgroups and not self.world.inventory.find(
                "workgroup", self.account(caller), self.region, call.get("workgroupName")):
            raise Refusal(400, "ResourceNotFoundException", f"Workgroup {call.get('workgroupName')} not found")
        user = "IAMR:" + caller["trusted"].split("/")[-1]
        password, end = self.world.temporary_password(user)
        self.answer(200, json.dumps({
            "dbUser": user, "dbPassword": password, "expiration": end,
            "nextRefreshTime": end - self.world.password_lifetime / 2}).encode(),
            [("Content-Type", "application/x-amz-json-1.1")])

    # Answers

    def xml(self, action, result):
        text = f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}
            </{action}Result><ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata></{action}Response>"""
        self.answer(200, text.encode(), [("Content-Type", "text/xml")])

    def refuse(self, service, refusal):
        if service in ("sts", "redshift"):
            body = f"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
                <Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>
                <RequestId>{secrets.token_hex(8)}</RequestId></ErrorResponse>"""
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


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def serve(port, description, postgres, address="127.0.0.1"):
    """Makes a server; the caller runs `serve_forever`."""
    handler = type("BoundHandler", (Handler,), {"world": World(description, postgres)})
    family = {"address_family": socket.AF_INET6 if ":" in address else socket.AF_INET}
    return type("BoundServer", (Server,), family)((address, port), handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--world", required=True)
    parser.add_argument("--postgres", required=True)
    arguments = parser.parse_args()
    with open(arguments.world) as file:
        description = json.load(file)
    serve(arguments.port, description, arguments.postgres, arguments.address).serve_forever()


if __name__ == "__main__":
    main()
