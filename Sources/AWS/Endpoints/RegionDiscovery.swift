extension AWSEnvironment {
  /// The region for calls that belong to no database: the one that is set, that of the instance whose credentials were found,
  /// else one that is always there.
  ///
  /// - Throws: `AWSError` if the instance does not tell.
  public func discoverRegion(for found: FoundCredentials) async throws -> String {
    if let region { return region }
    guard found.isOfInstance else { return Partition.standard.anyRegion }
    return try await InstanceMetadataSource(environment: self).region() ?? Partition.standard.anyRegion
  }
}
