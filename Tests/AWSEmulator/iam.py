"""The emulator with IAM: moto keeps roles, users and policies and answers IAM's API; what they say decides every call.

The roles and users of the world are put into moto at the start, their permissions as inline policies. AssumeRole and
every call of Redshift are then allowed by the evaluation logic of the IAM User Guide ("Policy evaluation logic"): identity policies,
permissions boundaries and trust policies, of one account.

Run: iam.py with the options of emulator.py
"""

import argparse
import fnmatch
import json
import urllib.parse
import xml.sax.saxutils

import emulator
import moto.iam.models
import moto.moto_server.werkzeug_app

ACCOUNT = "123456789012"


def as_list(value):
    return value if isinstance(value, list) else [value]


def matches(statement, action, resource):
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in as_list(statement.get("Action", []))) and any(
        fnmatch.fnmatchcase(resource, pattern) for pattern in as_list(statement.get("Resource", "*")))


def verdict(documents, action, resource):
    """'Deny', 'Allow' or None: nothing is said."""
    effects = {statement["Effect"] for document in documents for statement in as_list(json.loads(document)["Statement"])
               if matches(statement, action, resource)}
    return "Deny" if "Deny" in effects else "Allow" if "Allow" in effects else None


class Identities:
    def __init__(self, description):
        self.client = moto.moto_server.werkzeug_app.create_backend_app("iam").test_client()
        self.backend = moto.iam.models.iam_backends[ACCOUNT]["aws"]
        # moto has no permissions boundaries of users.
        self.user_boundaries = {}
        for arn, role in description["roles"].items():
            name, path = arn.split("/")[-1], arn.split(":role")[1].rsplit("/", 1)[0] + "/"
            statement = {"Effect": "Allow", "Principal": {"AWS": role["trust"]}, "Action": "sts:AssumeRole"}
            if not role["trust"]:
                statement["Principal"] = {"Service": "ec2.amazonaws.com"}
            if "external_id" in role:
                statement["Condition"] = {"StringEquals": {"sts:ExternalId": role["external_id"]}}
            self.seed("CreateRole", RoleName=name, Path=path, AssumeRolePolicyDocument=self.policy(statement))
            self.permit("Role", name, role.get("permissions", []))
        for user in description.get("users", []):
            name = user["arn"].split("/")[-1]
            self.seed("CreateUser", UserName=name)
            self.permit("User", name, user["permissions"])

    @staticmethod
    def policy(statement):
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def permit(self, kind, name, actions):
        if actions:
            self.seed(f"Put{kind}Policy", **{f"{kind}Name": name}, PolicyName="given", PolicyDocument=self.policy(
                {"Effect": "Allow", "Action": actions, "Resource": "*"}))

    def seed(self, action, **parameters):
        answer = self.post(urllib.parse.urlencode({"Action": action, "Version": "2010-05-08"} | parameters))
        assert answer.status_code == 200, answer.text

    def post(self, body):
        return self.client.post("/", data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})

    # Evaluation

    def entity(self, arn):
        name = arn.split("/")[-1]
        return self.backend.get_user(name) if ":user/" in arn else self.backend.get_role(name)

    def boundary(self, arn):
        return self.user_boundaries.get(arn.split("/")[-1]) if ":user/" in arn else self.entity(arn).permissions_boundary_arn

    def in_force(self, policy_arn):
        [version] = [version for version in self.backend.get_policy(policy_arn).versions if version.is_default]
        return version.document

    def why_not(self, arn, action, resource, is_granted=False):
        """Why the identity may not do that; None if it may. `is_granted`: the resource's own policy names it."""
        entity = self.entity(arn)
        inline = entity.policies
        documents = [*(inline.values() if isinstance(inline, dict) else [p.policy_document for p in inline])]
        documents += [self.in_force(policy) for policy in entity.managed_policies]
        said = verdict(documents, action, resource)
        if said == "Deny":
            return "with an explicit deny in an identity-based policy"
        boundary = self.boundary(arn)
        if boundary and verdict([self.in_force(boundary)], action, resource) != "Allow":
            return f"because no permissions boundary allows the {action} action"
        if said is None and not is_granted:
            return f"because no identity-based policy allows the {action} action"
        return None

    def why_not_assume(self, arn, role_arn, external_id):
        try:
            role = self.backend.get_role_by_arn(role_arn)
        except Exception:
            return ""
        names, accounts = False, False
        for statement in as_list(json.loads(role.assume_role_policy_document)["Statement"]):
            wanted = statement.get("Condition", {}).get("StringEquals", {}).get("sts:ExternalId")
            if statement["Effect"] != "Allow" or (wanted is not None and wanted != external_id):
                continue
            principals = as_list(statement["Principal"].get("AWS", []))
            names |= arn in principals
            accounts |= f"arn:aws:iam::{arn.split(':')[4]}:root" in principals
        if not names and not accounts:
            return ""
        return self.why_not(arn, "sts:AssumeRole", role_arn, is_granted=names)


class Handler(emulator.Handler):
    identities: Identities

    def do_POST(self):
        scope = self.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
        if len(scope) != 5 or scope[3] != "iam":
            return super().do_POST()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = dict(urllib.parse.parse_qsl(body.decode()))
        try:
            self.world.count(form["Action"])
            if self.fault(form["Action"]):
                return
            caller = self.authenticate(body, "iam")
            self.check(caller, f"iam:{form['Action']}", "*")
            self.answer_iam(form, body)
        except emulator.Refusal as refusal:
            self.refuse("sts", refusal)

    def answer_iam(self, form, body):
        if form["Action"] == "PutUserPermissionsBoundary":
            self.identities.user_boundaries[form["UserName"]] = form["PermissionsBoundary"]
            return self.xml(form["Action"], "")
        answer = self.identities.post(body)
        text = answer.get_data()
        boundary = self.identities.user_boundaries.get(form.get("UserName"))
        if form["Action"] == "GetUser" and boundary:
            element = f"<PermissionsBoundary><PermissionsBoundaryArn>{xml.sax.saxutils.escape(boundary)}</PermissionsBoundaryArn>"
            text = text.replace(b"</User>", f"{element}</PermissionsBoundary></User>".encode())
        self.answer(answer.status_code, text, [("Content-Type", "text/xml")])

    def check(self, caller, action, resource):
        why = self.identities.why_not(caller["trusted"], action, resource)
        if why is not None:
            raise emulator.Refusal(
                403, "AccessDenied",
                f"User: {caller['shown']} is not authorized to perform: {action} on resource: {resource} {why}")

    def assume_role(self, form, caller):
        arn = form.get("RoleArn", "")
        why = self.identities.why_not_assume(caller["trusted"], arn, form.get("ExternalId"))
        if why is not None:
            raise emulator.Refusal(
                403, "AccessDenied",
                f"User: {caller['shown']} is not authorized to perform: sts:AssumeRole on resource: {arn} {why}".strip())
        # IAM has decided: the emulator's own list of who is trusted follows.
        trust = self.world.roles[arn]["trust"]
        if caller["trusted"] not in trust:
            trust.append(caller["trusted"])
        super().assume_role(form, caller)

    def permit(self, caller, action, resource):
        why = self.identities.why_not(caller["trusted"], action, resource)
        if why is not None:
            raise self.denial(caller, action, f" on resource: {resource} {why}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--world", required=True)
    parser.add_argument("--postgres", required=True)
    arguments = parser.parse_args()
    with open(arguments.world) as file:
        description = json.load(file)
    server = emulator.serve(arguments.port, description, arguments.postgres)
    server.RequestHandlerClass = type("BoundHandler", (Handler,), {
        "world": server.RequestHandlerClass.world, "identities": Identities(description)})
    server.serve_forever()


if __name__ == "__main__":
    main()
