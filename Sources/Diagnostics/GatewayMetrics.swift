import Gateway

/// The reactors' counters in Prometheus' terms. Sums are over all reactors; what is one reactor's own carries its number.
struct GatewayMetrics {
  private let samples: [ReactorSample?]
  private let known: [ReactorSample]

  init(_ samples: [ReactorSample?]) {
    self.samples = samples
    known = samples.compactMap { $0 }
  }

  func families() -> [MetricFamily] {
    let reactors = samples.enumerated().map { index, sample in (labels: [("reactor", "\(index)")], sample) }
    return [
      MetricFamily(
        "sallyport_sessions_total", .counter, help: "Database sessions that began.", sum { $0.counters.sessionsStarted }
      ),
      MetricFamily(
        "sallyport_sessions_open", .gauge, help: "Database sessions that run.",
        sum { $0.counters.sessionsStarted &- $0.counters.sessionsEnded }),
      MetricFamily(
        "sallyport_sessions_refused_total", .counter, help: "Logins refused, by the SQLSTATE the client was told.",
        tally("sqlstate") { sample in sample.counters.refusals.map { ($0.key.rawValue, $0.value) } }),
      MetricFamily(
        "sallyport_connections_turned_away_total", .counter,
        help: "Connections closed at once, by the limit they met.",
        tally("limit") { sample in sample.counters.turnedAway.map { ($0.key, $0.value) } }),
      MetricFamily(
        "sallyport_connections_open", .gauge, help: "Connections to the public port.", sum { UInt64($0.clients) }),
      MetricFamily(
        "sallyport_logins_underway", .gauge, help: "Connections whose login is not over.", sum { UInt64($0.logins) }),
      MetricFamily(
        "sallyport_relayed_bytes_total", .counter, help: "Plaintext bytes relayed.",
        [
          .init([("direction", "to_database")], sum { $0.counters.bytesFromClients }),
          .init([("direction", "to_client")], sum { $0.counters.bytesToClients }),
        ]),
      MetricFamily(
        "sallyport_tls_handshakes_total", .counter, help: "TLS handshakes completed.",
        [
          .init([("peer", "client")], sum { $0.counters.clientHandshakes.completed }),
          .init([("peer", "database")], sum { $0.counters.databaseHandshakes.completed }),
        ]),
      MetricFamily(
        "sallyport_tls_handshake_failures_total", .counter, help: "TLS handshakes failed, by what was wrong.",
        tally("reason", [("peer", "client")]) { sample in
          sample.counters.clientHandshakes.failed.map { ($0.key.rawValue, $0.value) }
        }
          + tally("reason", [("peer", "database")]) { sample in
            sample.counters.databaseHandshakes.failed.map { ($0.key.rawValue, $0.value) }
          }),
      MetricFamily(
        "sallyport_pool_servers_idle", .gauge, help: "Server connections that wait for their next client.",
        sum { UInt64($0.keptServers) }),
      MetricFamily(
        "sallyport_pool_servers_shared", .gauge, help: "Server connections of pools in mode transaction.",
        sum { UInt64($0.sharedServers) }),
      MetricFamily(
        "sallyport_pool_clients_waiting", .gauge, help: "Clients that wait for a server connection.",
        sum { UInt64($0.waitingClients) }),
      MetricFamily(
        "sallyport_pool_timeouts_total", .counter, help: "Clients that waited longer than query_wait_timeout.",
        sum { $0.counters.pool.timeouts }),
      MetricFamily(
        "sallyport_pool_servers_kept_total", .counter, help: "Server connections that were reset and kept.",
        sum { $0.counters.pool.kept }),
      MetricFamily(
        "sallyport_pool_servers_reused_total", .counter, help: "Clients that got a server connection used before.",
        sum { $0.counters.pool.reused }),
      MetricFamily(
        "sallyport_pool_servers_discarded_total", .counter, help: "Pooled server connections that ended.",
        tally("reason") { sample in sample.counters.pool.discarded.map { ($0.key.rawValue, $0.value) } }),
      MetricFamily(
        "sallyport_reactor_up", .gauge, help: "1 if the reactor answered in time.",
        reactors.map { .init($0.labels, $0.1 == nil ? 0 : 1) }),
      MetricFamily(
        "sallyport_reactor_channels", .gauge, help: "Open sockets of one reactor.",
        reactors.compactMap { labels, sample in sample.map { .init(labels, Double($0.channels)) } }),
    ]
  }

  private func sum(_ value: (ReactorSample) -> UInt64) -> Double { Double(known.reduce(0) { $0 &+ value($1) }) }

  /// One series for each name that any reactor has met.
  private func tally(
    _ label: String, _ labels: [(name: String, value: String)] = [], _ values: (ReactorSample) -> [(String, UInt64)]
  ) -> [MetricFamily.Series] {
    var sums: [String: UInt64] = [:]
    for (name, value) in known.flatMap(values) { sums[name, default: 0] &+= value }
    return sums.sorted { $0.key < $1.key }.map { .init(labels + [(label, $0.key)], Double($0.value)) }
  }
}
