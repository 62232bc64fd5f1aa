extension TeleportConfiguration {
  /// What a running process makes of `new`: everything that can change while it runs is taken from there.
  ///
  /// - Returns: the configuration to go on with, and the keys that differ but need a restart.
  public func reloaded(with new: TeleportConfiguration) -> (
    configuration: TeleportConfiguration, needsRestart: [String]
  ) {
    var result = new
    var needsRestart: [String] = []
    func keep<Value: Equatable>(_ path: WritableKeyPath<TeleportConfiguration, Value>, _ key: String) {
      guard result[keyPath: path] != self[keyPath: path] else { return }
      result[keyPath: path] = self[keyPath: path]
      needsRestart.append(key)
    }
    keep(\.dataDirectory, "teleport.data_dir")
    keep(\.storage, "teleport.storage")
    keep(\.tokenName, "teleport.join_params.token_name")
    keep(\.membership, "how hosts find and join the cluster (proxy_server, ca_pin, auth_service.tokens ...)")
    keep(\.reactorCount, "teleport.reactors")
    keep(\.reactorInterface, "teleport.reactor")
    keep(\.diagAddress, "teleport.diag_addr")
    keep(\.pidFile, "teleport.pid_file")
    keep(\.isAuthEnabled, "auth_service.enabled")
    keep(\.clusterName, "auth_service.cluster_name")
    keep(\.isProxyEnabled, "proxy_service.enabled")
    keep(\.webListenAddress, "proxy_service.web_listen_addr")
    keep(\.postgresListenAddress, "proxy_service.postgres_listen_addr")
    keep(\.isDatabaseEnabled, "db_service.enabled")
    keep(\.discovery.isEnabled, "discovery_service.enabled")
    keep(\.discovery.group, "discovery_service.discovery_group")
    return (result, needsRestart)
  }
}
