/// The version of all three programs, as `tctl status` and `/v1/webapi/ping` show it.
public let sallyportVersion = "0.1.0"
