"""The parts of AWS that give a host its own credentials: IMDSv2, the agents of ECS and EKS, the portal of IAM Identity
Center and AssumeRoleWithWebIdentity."""

import json
import secrets
import urllib.parse


class SourceEndpoints:
    """For the emulator's request handler; `world`, `answer` and `xml` are the handler's."""

    def issue_imds_token(self):
        if self.path != "/latest/api/token":
            return self.answer(404, b"")
        if self.fault("ImdsToken"):
            return
        token = secrets.token_urlsafe(24)
        self.world.imds_tokens.add(token)
        self.answer(200, token.encode())

    def give_source_credentials(self):
        path = urllib.parse.urlsplit(self.path)
        if path.path == "/federation/credentials":
            return self.sso_credentials(dict(urllib.parse.parse_qsl(path.query)))
        if path.path.startswith("/container/"):
            return self.container_credentials(path.path)
        self.instance_metadata()

    def instance_metadata(self):
        if self.headers.get("X-aws-ec2-metadata-token") not in self.world.imds_tokens:
            return self.answer(401, b"")
        if self.path == "/latest/meta-data/placement/region":
            return self.answer(200, b"us-west-2")
        folder = "/latest/meta-data/iam/security-credentials/"
        role = self.world.instance_role
        if role is None or not self.path.startswith(folder):
            return self.answer(404, b"")
        name = role.split("/")[-1]
        if self.path == folder:
            return self.answer(200, name.encode())
        self.world.count("InstanceCredentials")
        if self.fault("InstanceCredentials"):
            return
        self.document(role, "i-0123456789abcdef0", {"Code": "Success", "Type": "AWS-HMAC"})

    def container_credentials(self, path):
        """`/container/NAME`: the role of a container, for the bearer of its token."""
        container = self.world.containers.get(path.removeprefix("/container/"))
        if container is None or self.headers.get("Authorization") != container.get("token"):
            return self.answer(403, b'{"code": "AccessDenied"}')
        self.world.count("ContainerCredentials")
        self.document(container["role"], "container", {"RoleArn": container["role"]})

    def document(self, role, session, fields):
        key, entry = self.world.session(role, session, chained=False)
        self.answer(200, json.dumps(fields | {
            "AccessKeyId": key, "SecretAccessKey": entry["secret"], "Token": entry["token"],
            "Expiration": self.world.iso(entry["end"])}).encode(), [("Content-Type", "application/json")])

    def renew_sso_token(self, call):
        """CreateToken of sso-oidc, for the holder of a refresh token."""
        self.world.count("CreateToken")
        if self.fault("CreateToken"):
            return
        with self.world.lock:
            known = call.get("refreshToken") in self.world.sso_refresh_tokens
            self.world.sso_refresh_tokens.discard(call.get("refreshToken"))
        registered = (call.get("clientId"), call.get("clientSecret")) == ("client-of-the-tests", "client-secret")
        if not known or not registered or call.get("grantType") != "refresh_token" or "Authorization" in self.headers:
            return self.answer(400, json.dumps({"error": "invalid_grant", "error_description": "Invalid refresh token"}).encode(),
                               [("x-amzn-ErrorType", "InvalidGrantException"), ("Content-Type", "application/json")])
        token, refresh = "sso-" + secrets.token_urlsafe(16), "refresh-" + secrets.token_urlsafe(16)
        with self.world.lock:
            self.world.sso_tokens.add(token)
            self.world.sso_refresh_tokens.add(refresh)
        self.answer(200, json.dumps({
            "accessToken": token, "tokenType": "Bearer", "expiresIn": 3600, "refreshToken": refresh}).encode(),
            [("Content-Type", "application/json")])

    def sso_credentials(self, query):
        if self.headers.get("x-amz-sso_bearer_token") not in self.world.sso_tokens:
            return self.answer(401, json.dumps({"message": "Session token not found or invalid"}).encode(),
                               [("x-amzn-ErrorType", "UnauthorizedException")])
        self.world.count("GetRoleCredentials")
        role = f"arn:aws:iam::{query['account_id']}:role/{query['role_name']}"
        if role not in self.world.roles:
            return self.answer(403, json.dumps({"message": "No access"}).encode(),
                               [("x-amzn-ErrorType", "ForbiddenException")])
        key, entry = self.world.session(role, "sso-user", chained=False)
        self.answer(200, json.dumps({"roleCredentials": {
            "accessKeyId": key, "secretAccessKey": entry["secret"], "sessionToken": entry["token"],
            "expiration": int(entry["end"] * 1000)}}).encode(), [("Content-Type", "application/json")])

    def assume_role_with_web_identity(self, form):
        """Unsigned: the token is what speaks for the caller."""
        arn = form.get("RoleArn", "")
        wanted = self.world.roles.get(arn, {}).get("web_identity_token")
        if wanted is None or "Authorization" in self.headers:
            raise self.Refusal(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        if not secrets.compare_digest(form.get("WebIdentityToken", ""), wanted):
            raise self.Refusal(400, "InvalidIdentityToken", "No OpenIDConnect provider found for this token")
        key, entry = self.world.session(
            arn, form["RoleSessionName"], False, int(form.get("DurationSeconds", 3600)))
        self.xml("AssumeRoleWithWebIdentity", self.credentials_element(key, entry))
