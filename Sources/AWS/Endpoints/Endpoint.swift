import Foundation

/// Where a service is called and which region the signature names.
struct Endpoint {
  let url: URL
  let signingRegion: String
}

extension AWSEnvironment {
  /// The endpoint of a service: the one that settings name, else the region's own, by the rules of the SDKs.
  ///
  /// Settings, the nearest first: `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_ENDPOINT_URL`, the profile's `services` section and its
  /// `endpoint_url`.
  func endpoint(of service: AWSService, region: String) throws -> Endpoint {
    guard (1...64).contains(region.utf8.count), region.utf8.allSatisfy(Self.isRegionCharacter) else {
      throw AWSError("InvalidParameter", "'\(region)' is not an AWS region", mend: "Write it as us-east-1.")
    }
    let signingRegion = service.isGlobal ? Partition(region: region).anyRegion : region
    let isIgnored = isSet("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", profileKey: "ignore_configured_endpoint_urls")
    let configured = isIgnored ? nil : configuredEndpoint(of: service)
    let text = configured ?? "https://\(hostName(of: service, region: region))/"
    guard let url = URL(string: text), url.host?.isEmpty == false, ["http", "https"].contains(url.scheme) else {
      throw AWSError(
        "InvalidParameter", "the endpoint for \(service.name) is not a URL",
        mend: "Check AWS_ENDPOINT_URL_\(service.settingName) and AWS_ENDPOINT_URL.")
    }
    return Endpoint(url: url.path.isEmpty ? url.appendingPathComponent("/") : url, signingRegion: signingRegion)
  }

  private func configuredEndpoint(of service: AWSService) -> String? {
    if let text = variable("AWS_ENDPOINT_URL_" + service.settingName) ?? variable("AWS_ENDPOINT_URL") { return text }
    let section = profile["services"].flatMap { configuration.services[$0] }
    return section?[service.settingName.lowercased() + ".endpoint_url"] ?? profile["endpoint_url"]
  }

  private func hostName(of service: AWSService, region: String) -> String {
    let partition = Partition(region: region)
    let isDual = isSet("AWS_USE_DUALSTACK_ENDPOINT", profileKey: "use_dualstack_endpoint")
    var name = service.name
    if isSet("AWS_USE_FIPS_ENDPOINT", profileKey: "use_fips_endpoint"),
      !isFIPSAnyway(service, partition, isDual: isDual)
    {
      name += "-fips"
    }
    let suffix = isDual ? partition.dualStackSuffix : partition.dnsSuffix
    guard service.isGlobal else { return "\(name).\(region).\(suffix)" }
    switch (partition, isDual) {
    case (.standard, false): return "\(name).\(suffix)"
    case (.standard, true), (.china, true): return "\(name).global.\(suffix)"
    case (.china, false): return "\(name).\(partition.anyRegion).\(suffix)"
    case (.usGov, _): return "\(name).us-gov.\(suffix)"
    }
  }

  /// In GovCloud most endpoints without the suffix are FIPS ones already.
  private func isFIPSAnyway(_ service: AWSService, _ partition: Partition, isDual: Bool) -> Bool {
    partition == .usGov && service != .redshiftServerless && (service.isGlobal || !isDual)
  }

  private static func isRegionCharacter(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x2d
  }
}
