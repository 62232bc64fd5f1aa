import Foundation
import TextForms

/// Which proxy leads to a host: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case as everywhere.
struct ProxySettings: Sendable {
  /// An HTTP proxy.
  struct Proxy: Hashable, Sendable {
    let host: String
    let port: Int
    let user: String?
    let password: String?
  }

  private let http: String?
  private let https: String?
  private let exceptions: [String]

  init(_ variables: [String: String]) {
    func value(_ name: String) -> String? {
      // The lower case is older and wins, as with curl and Python.
      [variables[name.lowercased()], variables[name]].compactMap { $0 }.first { !$0.isEmpty }
    }
    http = value("HTTP_PROXY")
    https = value("HTTPS_PROXY")
    exceptions = (value("NO_PROXY") ?? "").split { $0 == "," || $0.isWhitespace }.map { $0.lowercased() }
  }

  /// The proxy for `url`; `nil`: none.
  ///
  /// This host and link-local addresses, where metadata and container credentials are, are reached directly always.
  ///
  /// - Throws: `AWSError` for a proxy that is written wrongly.
  func proxy(for url: URL) throws -> Proxy? {
    guard let host = url.host?.lowercased(), let text = url.scheme == "http" ? http : https,
      !Self.isNearby(host), !isExcepted(host, port: url.port)
    else { return nil }
    let name = url.scheme == "http" ? "HTTP_PROXY" : "HTTPS_PROXY"
    guard let proxy = URLComponents(string: text.contains("://") ? text : "http://" + text), proxy.scheme == "http",
      let proxyHost = proxy.host, !proxyHost.isEmpty
    else {
      throw AWSError("InvalidParameter", "\(name) is not the URL of an HTTP proxy", mend: "Write http://HOST:PORT.")
    }
    return Proxy(host: proxyHost, port: proxy.port ?? 80, user: proxy.user, password: proxy.password)
  }

  static func isNearby(_ host: String) -> Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.") || host.hasPrefix("169.254.")
      || host.hasPrefix("fe80:") || host.hasPrefix("fd00:ec2:")
  }

  private func isExcepted(_ host: String, port: Int?) -> Bool {
    exceptions.contains { exception in
      if exception == "*" { return true }
      var name = exception[...]
      if let written = HostPort(exception) {
        guard Int(written.port) == port else { return false }
        name = written.host[...]
      }
      if name.hasPrefix("*") { name = name.dropFirst() }
      if name.hasPrefix(".") { return host.hasSuffix(name) || host == name.dropFirst() }
      return host == name || host.hasSuffix("." + name)
    }
  }
}
