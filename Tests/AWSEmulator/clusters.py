"""Logins at provisioned clusters of Redshift, over the query protocol."""


class ClusterEndpoints:
    """For the emulator's request handler."""

    ACTIONS = ("GetClusterCredentials", "GetClusterCredentialsWithIAM", "DescribeClusters")

    def clusters(self, action, form, caller):
        self.permit(caller, f"redshift:{action}", "*")
        if action == "DescribeClusters":
            return self.describe_clusters(form, caller)
        name = form.get("ClusterIdentifier")
        if name not in self.world.clusters and not self.world.inventory.find(
                "cluster", self.account(caller), self.region, name):
            raise self.Refusal(404, "ClusterNotFound", f"Cluster {name} not found.")
        user = "IAM:" + form["DbUser"] if "DbUser" in form else "IAMR:" + caller["trusted"].split("/")[-1]
        password, end = self.world.temporary_password(user)
        self.xml(action, f"""<DbUser>{user}</DbUser><DbPassword>{password}</DbPassword>
            <Expiration>{self.world.iso(end)}</Expiration>""")
