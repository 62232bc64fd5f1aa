import Foundation
import Secrets

/// A profile of the shared files, and whatever it refers to: keys, a role and the source it is assumed from, a web identity,
/// SSO or a process.
struct ProfileSource: CredentialSource {
  let environment: AWSEnvironment

  var name: String { "profile '\(environment.profileName)'" }

  func find() async throws -> FoundCredentials {
    // Read anew: the files may have changed since the start.
    let files = SharedConfiguration.load(environment.variables)
    let profile = environment.profileName
    guard files.settings(ofProfile: profile) != nil else {
      let problems = files.problems.isEmpty ? "" : " (\(files.problems.joined(separator: ", ")))"
      let reason = "it is neither in \(files.credentialsPath) nor in \(files.configPath)\(problems)"
      guard environment.variable("AWS_PROFILE") == nil, files.problems.isEmpty else {
        // Whoever names a profile does not want to be somebody else.
        throw AWSError("InvalidParameter", reason, mend: "Check AWS_PROFILE, AWS_CONFIG_FILE and HOME of this process.")
      }
      throw NotConfigured(reason)
    }
    return try await resolve(profile, files, through: [])
  }

  /// - Parameter through: the profiles that led here, to find loops.
  private func resolve(
    _ profile: String, _ files: SharedConfiguration, through: [String]
  ) async throws -> FoundCredentials {
    let name = "profile '\(profile)'"
    guard let settings = files.settings(ofProfile: profile) else {
      throw AWSError("InvalidParameter", "\(name), a source_profile, is in none of the shared files")
    }
    if let role = settings["role_arn"] {
      if let tokenFile = settings["web_identity_token_file"] {
        return try await WebIdentitySource(
          environment: environment, name: name, role: role, tokenFile: tokenFile,
          sessionName: settings["role_session_name"], duration: try duration(settings, name)
        ).find()
      }
      return try await assume(try RoleARN(role), profile, settings, files, through)
    }
    if let keys = staticKeys(settings) { return FoundCredentials(credentials: keys, source: "\(name) (keys)") }
    if settings["sso_session"] != nil || settings["sso_start_url"] != nil {
      let session = settings["sso_session"]
      guard let shared = session.map({ files.ssoSessions[$0] }) ?? [:] else {
        throw AWSError("InvalidParameter", "\(name): there is no [sso-session \(session ?? "")] in \(files.configPath)")
      }
      return try await SSOSource(
        environment: environment, name: name, settings: settings.merging(shared) { _, session in session },
        session: session, profile: profile
      ).find()
    }
    if let command = settings["credential_process"] {
      return try await ProcessSource(environment: environment, name: name, command: command).find()
    }
    guard through.isEmpty else {
      throw AWSError("InvalidParameter", "\(name), a source_profile, says nothing about credentials")
    }
    throw NotConfigured("it says nothing about credentials")
  }

  private func assume(
    _ role: RoleARN, _ profile: String, _ settings: [String: String], _ files: SharedConfiguration, _ through: [String]
  ) async throws -> FoundCredentials {
    let name = "profile '\(profile)'"
    guard settings["mfa_serial"] == nil else {
      throw AWSError(
        "InvalidParameter", "\(name): mfa_serial asks for a code that nobody is there to type",
        mend: "Use a role without MFA for a service.")
    }
    let base = try await base(of: profile, settings, files, through)
    let session = STSClient.RoleSession(
      role: role, name: settings["role_session_name"] ?? SessionName.ofService(environment),
      externalID: settings["external_id"], duration: try duration(settings, name))
    let sts = STSClient(caller: AWSCaller(environment: environment), region: environment.region(for: role))
    return FoundCredentials(
      credentials: try await sts.assumeRole(session, with: base.credentials),
      source: "\(name) (\(role)) from \(base.source)")
  }

  /// Who assumes the role of `profile`.
  private func base(
    of profile: String, _ settings: [String: String], _ files: SharedConfiguration, _ through: [String]
  ) async throws -> FoundCredentials {
    let name = "profile '\(profile)'"
    switch (settings["source_profile"], settings["credential_source"]) {
    case (let source?, nil):
      // A profile may name itself: then its own keys assume its role.
      if source == profile, let keys = staticKeys(settings) {
        return FoundCredentials(credentials: keys, source: "\(name) (keys)")
      }
      let path = through + [profile]
      guard !path.contains(source) else {
        throw AWSError(
          "InvalidParameter", "source_profile leads in a circle: \((path + [source]).joined(separator: " → "))")
      }
      return try await resolve(source, files, through: path)
    case (nil, let kind?):
      do {
        switch kind {
        case "Environment": return try await EnvironmentSource(environment: environment).find()
        case "Ec2InstanceMetadata": return try await InstanceMetadataSource(environment: environment).find()
        case "EcsContainer": return try await ContainerSource(environment: environment).find()
        default:
          throw AWSError(
            "InvalidParameter", "\(name): credential_source is '\(kind)'",
            mend: "Write Environment, Ec2InstanceMetadata or EcsContainer.")
        }
      } catch let error as NotConfigured {
        throw AWSError("InvalidParameter", "\(name): credential_source \(kind): \(error.reason)")
      }
    case (nil, nil):
      throw AWSError("InvalidParameter", "\(name): role_arn needs source_profile or credential_source")
    case (_?, _?):
      throw AWSError("InvalidParameter", "\(name) has both source_profile and credential_source")
    }
  }

  private func staticKeys(_ settings: [String: String]) -> AWSCredentials? {
    guard let key = settings["aws_access_key_id"], let secret = settings["aws_secret_access_key"] else { return nil }
    return AWSCredentials(
      accessKeyID: key, secretAccessKey: Secret(utf8: secret),
      sessionToken: settings["aws_session_token"].map { Secret(utf8: $0) }, expiration: nil)
  }

  private func duration(_ settings: [String: String], _ name: String) throws -> Int {
    guard let text = settings["duration_seconds"] else { return 3600 }
    guard let seconds = Int(text), (900...43_200).contains(seconds) else {
      throw AWSError(
        "InvalidParameter", "\(name): duration_seconds is '\(text)'", mend: "Use a number from 900 to 43200.")
    }
    return seconds
  }
}
