"""What accounts have in their regions: workgroups and VPC endpoints of Redshift Serverless, provisioned clusters. Tests put
it there and change it (`/_control/inventory`); the calls that list it are answered a page at a time."""

import json
import xml.sax.saxutils

ARN = {
    "workgroup": "arn:aws:redshift-serverless:{region}:{account}:workgroup/{id}",
    "endpoint": "arn:aws:redshift-serverless:{region}:{account}:managedvpcendpoint/{id}",
    "cluster": "arn:aws:redshift:{region}:{account}:namespace:{id}",
}


class Inventory:
    """Items are mappings of kind, account, region, name, host, port and tags; endpoints have a workgroup. `status` is that of
    the service's own API."""

    def __init__(self, items=()):
        self.items = []
        self.replace(items)

    def replace(self, items):
        for item in items:
            item.setdefault("tags", {})
            item.setdefault("status", "available" if item["kind"] == "cluster" else "AVAILABLE")
            item["arn"] = ARN[item["kind"]].format(id=f"id-of-{item['name']}", **item)
        self.items = sorted(items, key=lambda item: item["name"])

    def of(self, kind, account, region):
        return [item for item in self.items if (item["kind"], item["account"], item["region"]) == (kind, account, region)]

    def find(self, kind, account, region, name):
        return next((item for item in self.of(kind, account, region) if item["name"] == name), None)


def page(items, token, size):
    """The items from a token on, and the token of the next page."""
    first = int(token or 0)
    return items[first:first + size], str(first + size) if first + size < len(items) else None


class InventoryEndpoints:
    """For the emulator's request handler."""

    SERVERLESS = ("ListWorkgroups", "GetWorkgroup", "ListEndpointAccess", "ListTagsForResource")

    @property
    def region(self):
        """Of the signature's scope, which says where the caller believes to be; None without one."""
        scope = self.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
        return scope[2] if len(scope) == 5 else None

    @staticmethod
    def account(caller):
        return caller["trusted"].split(":")[4]

    def serverless(self, action, call, caller):
        inventory, here = self.world.inventory, (self.account(caller), self.region)
        resource = call.get("resourceArn", "*")
        if action == "GetWorkgroup":
            found = inventory.find("workgroup", *here, call.get("workgroupName"))
            resource = found["arn"] if found else "*"
        self.permit(caller, f"redshift-serverless:{action}", resource)
        if action == "GetWorkgroup":
            if not found:
                raise self.Refusal(400, "ResourceNotFoundException", f"Workgroup {call.get('workgroupName')} not found")
            return self.json({"workgroup": self.workgroup(found)})
        if action == "ListTagsForResource":
            found = [item for item in inventory.items if item["arn"] == resource and (item["account"], item["region"]) == here]
            if not found:
                raise self.Refusal(400, "ResourceNotFoundException", f"{resource} not found")
            return self.json({"tags": [{"key": key, "value": value} for key, value in found[0]["tags"].items()]})
        kind, field = ("workgroup", "workgroups") if action == "ListWorkgroups" else ("endpoint", "endpoints")
        items, token = page(inventory.of(kind, *here), call.get("nextToken"), min(call.get("maxResults", 100), 100))
        self.json({field: [getattr(self, kind)(item) for item in items]} | ({"nextToken": token} if token else {}))

    @staticmethod
    def workgroup(item):
        return {
            "workgroupName": item["name"], "workgroupArn": item["arn"], "status": item["status"],
            "namespaceName": item.get("namespace", "ns-" + item["name"]), "creationDate": "2025-01-01T00:00:00Z",
            "endpoint": {"address": item["host"], "port": item["port"], "vpcEndpoints": [{"vpcId": "vpc-1"}]}}

    @staticmethod
    def endpoint(item):
        return {
            "endpointName": item["name"], "endpointArn": item["arn"], "endpointStatus": item["status"],
            "workgroupName": item["workgroup"], "address": item["host"], "port": item["port"],
            "vpcEndpoint": {"vpcId": "vpc-2"}}

    def describe_clusters(self, form, caller):
        clusters = self.world.inventory.of("cluster", self.account(caller), self.region)
        if "ClusterIdentifier" in form:
            clusters = [item for item in clusters if item["name"] == form["ClusterIdentifier"]]
            if not clusters:
                raise self.Refusal(404, "ClusterNotFound", f"Cluster {form['ClusterIdentifier']} not found.")
        items, marker = page(clusters, form.get("Marker"), int(form.get("MaxRecords", 100)))
        marker = f"<Marker>{marker}</Marker>" if marker else ""
        self.xml("DescribeClusters", f"{marker}<Clusters>{''.join(map(self.cluster, items))}</Clusters>")

    @staticmethod
    def cluster(item):
        escape = xml.sax.saxutils.escape
        tags = "".join(
            f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>" for key, value in item["tags"].items())
        return f"""<Cluster><ClusterIdentifier>{item['name']}</ClusterIdentifier>
            <ClusterStatus>{item['status']}</ClusterStatus><ClusterAvailabilityStatus>Available</ClusterAvailabilityStatus>
            <Endpoint><Address>{item['host']}</Address><Port>{item['port']}</Port></Endpoint><DBName>dev</DBName>
            <VpcId>vpc-3</VpcId><ClusterNamespaceArn>{item['arn']}</ClusterNamespaceArn><Tags>{tags}</Tags></Cluster>"""

    def json(self, value):
        self.answer(200, json.dumps(value).encode(), [("Content-Type", "application/x-amz-json-1.1")])
