"""Provisioned clusters of Redshift, over the query protocol."""


class ClusterEndpoints:
    """For the emulator's request handler."""

    ACTIONS = ("GetClusterCredentials", "GetClusterCredentialsWithIAM", "DescribeClusters")

    def clusters(self, action, form, caller):
        if f"redshift:{action}" not in caller["permissions"]:
            raise self.Refusal(
                403, "AccessDenied", f"User: {caller['shown']} is not authorized to perform: redshift:{action}")
        if action == "DescribeClusters":
            return self.describe_clusters(form)
        if form.get("ClusterIdentifier") not in self.world.clusters:
            raise self.Refusal(404, "ClusterNotFound", f"Cluster {form.get('ClusterIdentifier')} not found.")
        user = "IAM:" + form["DbUser"] if "DbUser" in form else "IAMR:" + caller["trusted"].split("/")[-1]
        password, end = self.world.temporary_password(user)
        self.xml(action, f"""<DbUser>{user}</DbUser><DbPassword>{password}</DbPassword>
            <Expiration>{self.world.iso(end)}</Expiration>""")

    def describe_clusters(self, form):
        """One cluster a page."""
        names = sorted(self.world.clusters)
        index = int(form.get("Marker", 0))
        marker = f"<Marker>{index + 1}</Marker>" if index + 1 < len(names) else ""
        self.xml("DescribeClusters", f"""{marker}<Clusters><Cluster><ClusterIdentifier>{names[index]}</ClusterIdentifier>
            <ClusterStatus>available</ClusterStatus></Cluster></Clusters>""")
