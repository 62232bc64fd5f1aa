import Foundation
import Testing

@testable import AccessControl

/// What roles and locks are read from and written as, key by key.
struct RoleShapeTests {
  private func role(_ json: String) throws -> Role { try JSONDecoder().decode(Role.self, from: Data(json.utf8)) }

  private func role(allow json: String) throws -> Role {
    try role(#"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{\#(json)}}}"#)
  }

  private func error(_ json: String) -> RoleError? {
    #expect(throws: RoleError.self) { try role(json) }
  }

  @Test func everyKeyIsRead() throws {
    let read = try role(
      #"""
      {"kind":"role","version":"v6","metadata":{"name":"x","description":"d","labels":{"a":"b"},"revision":"r","id":7},
       "spec":{"allow":{"db_labels":{"env":"dev","team":["a","b"]},"db_names":["n"],"db_users":["u"],"db_replication":true,
       "rules":[{"resources":["role"],"verbs":["list"]}]},"deny":{"db_labels":{"env":"prod"},"db_names":["m"],
       "db_users":["v"],"rules":[{"resources":["user"],"verbs":["create"]}]},
       "options":{"max_session_ttl":"1h","client_idle_timeout":"2h","disconnect_expired_cert":true}}}
      """#)
    #expect((read.kind, read.version, read.name, read.revision) == ("role", "v6", "x", "r"))
    #expect((read.metadata.description, read.metadata.labels) == ("d", ["a": "b"]))
    let allow = read.spec.allow
    #expect(allow.databaseLabels == ["env": ["dev"], "team": ["a", "b"]])
    #expect((allow.databaseNames, allow.databaseUsers, allow.databaseReplication) == (["n"], ["u"], true))
    #expect(allow.rules == [.init(resources: ["role"], verbs: ["list"])])
    let deny = read.spec.deny
    #expect(deny.databaseLabels == ["env": ["prod"]])
    #expect((deny.databaseNames, deny.databaseUsers, deny.databaseReplication) == (["m"], ["v"], false))
    #expect(deny.rules == [.init(resources: ["user"], verbs: ["create"])])
    #expect(read.spec.options.maxSessionTTL == GoDuration(seconds: 3600))
    #expect(read.spec.options.clientIdleTimeout == GoDuration(seconds: 7200))
    #expect(read.spec.options.disconnectExpiredCertificate == true)
    let written = try JSONDecoder().decode(Role.self, from: JSONEncoder().encode(read))
    #expect(written == read)
  }

  @Test func whatIsMissingIsEmpty() throws {
    let read = try role(#"{"kind":"role","metadata":{"name":"x"}}"#)
    #expect(read == Role(name: "x", spec: .init()))
    #expect((read.version, read.revision) == ("v7", nil))
    #expect(read.spec.allow.databaseLabels == nil)
    #expect(!read.spec.allow.databaseReplication)
    #expect(read.spec.options == .init())
    var changed = read
    changed.revision = "2"
    #expect(changed.metadata.revision == "2")
  }

  @Test func oneLabelValueIsWrittenAsText() throws {
    let conditions = Role.Conditions(databaseLabels: ["one": ["a"], "two": ["a", "b"], "none": []])
    let written = try #require(
      try JSONSerialization.jsonObject(with: JSONEncoder().encode(conditions)) as? [String: Any])
    let labels = try #require(written["db_labels"] as? [String: Any])
    #expect(labels["one"] as? String == "a")
    #expect(labels["two"] as? [String] == ["a", "b"])
    #expect((labels["none"] as? [String])?.isEmpty == true)
  }

  @Test func everyKnownVersionIsTaken() throws {
    for version in ["v3", "v4", "v5", "v6", "v7"] {
      #expect(try role(#"{"kind":"role","version":"\#(version)","metadata":{"name":"x"}}"#).version == version)
    }
    #expect(error(#"{"kind":"role","version":"v2","metadata":{"name":"x"}}"#)?.path == ["version"])
    #expect(error(#"{"kind":"roles","metadata":{"name":"x"}}"#)?.path == ["kind"])
    #expect(error(#"{"kind":"role","metadata":{"name":"x/"}}"#)?.path == ["metadata", "name"])
  }

  @Test func patternsOfBothSidesAreChecked() {
    for side in ["allow", "deny"] {
      for key in ["db_names", "db_users"] {
        let found = error(
          #"{"kind":"role","metadata":{"name":"x"},"spec":{"\#(side)":{"\#(key)":["ok","^($"]}}}"#)
        #expect(found?.path == ["spec", side, key])
      }
      for labels in [#"{"a":"^($"}"#, #"{"^($":"a"}"#, #"{"a":["b","{{x}}"]}"#, #"{"*":"a"}"#, #"{"*":["*","*"]}"#] {
        let found = error(#"{"kind":"role","metadata":{"name":"x"},"spec":{"\#(side)":{"db_labels":\#(labels)}}}"#)
        #expect(found?.path == ["spec", side, "db_labels"], "\(labels)")
      }
    }
    #expect(throws: Never.self) { try role(allow: #""db_labels":{"*":["*"]}"#) }
  }

  /// Each mapping knows its own keys; the complaint names the nearest and the place.
  @Test(arguments: [
    (#"{"kind":"role","metadata":{"name":"x"},"spac":{}}"#, "'spec'", "spac"),
    (#"{"kind":"role","metadata":{"name":"x","descriptio":""}}"#, "'description'", "metadata.descriptio"),
    (#"{"kind":"role","metadata":{"name":"x"},"spec":{"alow":{}}}"#, "'allow'", "spec.alow"),
    (#"{"kind":"role","metadata":{"name":"x"},"spec":{"deny":{"db_name":[]}}}"#, "'db_names'", "spec.deny.db_name"),
    (
      #"{"kind":"role","metadata":{"name":"x"},"spec":{"options":{"max_session":""}}}"#, "'max_sessions'",
      "spec.options.max_session"
    ),
  ])
  func unknownKeysAreRefused(json: String, suggestion: String, path: String) {
    let found = error(json)
    #expect(found?.description.contains("did you mean \(suggestion)") == true)
    #expect(found?.path.joined(separator: ".") == path)
  }

  @Test func rulesKnowTheirKeys() {
    #expect(
      error(ruled(#"{"resources":[],"verbs":[],"verb":[]}"#))?.description.contains("did you mean 'verbs'") == true)
    #expect(error(ruled(#"{"resources":[],"verbs":[],"actions":["x"]}"#))?.description.contains("not enforced") == true)
    #expect(throws: Never.self) { try role(ruled(#"{"resources":[],"verbs":[],"actions":[],"where":""}"#)) }
    #expect(throws: (any Error).self) { try role(ruled(#"{"resources":["role"]}"#)) }
    #expect(throws: (any Error).self) { try role(ruled(#"{"verbs":["list"]}"#)) }
  }

  private func ruled(_ rule: String) -> String {
    #"{"kind":"role","metadata":{"name":"x"},"spec":{"allow":{"rules":[\#(rule)]}}}"#
  }

  @Test(arguments: [
    (#""sub_kind":"""#, true), (#""sub_kind":"x""#, false), (#""sub_kind":null"#, true), (#""sub_kind":0"#, false),
    (#""sub_kind":[]"#, true), (#""sub_kind":{}"#, true), (#""sub_kind":[1]"#, false), (#""sub_kind":{"a":1}"#, false),
    (#""sub_kind":false"#, false),
  ])
  func harmlessValues(field: String, isTaken: Bool) {
    let json = #"{"kind":"role","metadata":{"name":"x"},\#(field)}"#
    #expect(((try? role(json)) != nil) == isTaken)
  }

  @Test(arguments: [
    (#""namespace":"default""#, true), (#""namespace":"other""#, false), (#""expires":null"#, true),
    (#""expires":"""#, false), (#""id":5"#, true),
  ])
  func metadataOfOthers(field: String, isTaken: Bool) {
    let json = #"{"kind":"role","metadata":{"name":"x",\#(field)}}"#
    #expect(((try? role(json)) != nil) == isTaken)
  }

  @Test(arguments: [
    (#""require_session_mfa":0"#, true), (#""require_session_mfa":2"#, false), (#""require_session_mfa":0.5"#, false),
    (#""max_connections":0"#, true), (#""max_connections":1000000"#, true), (#""pin_source_ip":false"#, true),
    (#""pin_source_ip":true"#, false), (#""lock":"best_effort""#, true), (#""lock":"off""#, false),
  ])
  func optionsThatAreNotEnforced(field: String, isTaken: Bool) {
    let json = #"{"kind":"role","metadata":{"name":"x"},"spec":{"options":{\#(field)}}}"#
    #expect(((try? role(json)) != nil) == isTaken)
  }

  @Test func complaintsNameWhatWouldDo() {
    let found = error(#"{"kind":"role","metadata":{"name":"x"},"spec":{"options":{"lock":"strict"}}}"#)
    #expect(found?.description.hasSuffix("remove it or set it to best_effort") == true)
    let bare = error(#"{"kind":"role","metadata":{"name":"x"},"spec":{"allow":{"db_roles":["a"]}}}"#)
    #expect(bare?.description.hasSuffix("remove it") == true)
    let flag = error(#"{"kind":"role","metadata":{"name":"x"},"spec":{"allow":{"db_replication":"maybe"}}}"#)
    #expect(flag?.description.contains("'db_replication' is 'maybe'") == true)
    #expect(flag?.path == ["spec", "allow", "db_replication"])
  }

  @Test func presetsAreValid() throws {
    #expect(Role.presets.map(\.name) == ["access", "editor", "auditor"])
    for preset in Role.presets {
      try preset.validate()
      #expect(preset.metadata.description?.isEmpty == false)
    }
  }

  @Test func secondFactors() {
    #expect(SecondFactorMode.allCases.filter(\.isRequired) == [.on, .otp])
  }
}

struct LockShapeTests {
  private func lock(_ json: String) throws -> Lock { try JSONDecoder().decode(Lock.self, from: Data(json.utf8)) }

  @Test func everyKeyIsRead() throws {
    let read = try lock(
      #"""
      {"kind":"lock","version":"v2","metadata":{"name":"l","description":"d"},"spec":{"target":{"user":"u","role":"r",
       "db":"d","session":"s","server_id":"h"},"message":"m","expires":"2030-01-31T12:00:00Z","created_by":"x"}}
      """#)
    #expect(read.spec.target == .init(user: "u", role: "r", db: "d", session: "s", serverID: "h"))
    #expect(read.spec.target.fields == ["user": "u", "role": "r", "db": "d", "session": "s", "server_id": "h"])
    #expect((read.version, read.spec.message, read.metadata.description) == ("v2", "m", "d"))
    #expect(read.expires == Date(timeIntervalSince1970: 1_896_091_200))
    #expect(try lock(#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"u"}}}"#).version == "v2")
  }

  @Test func aLockIsOverFromItsTimeOn() {
    let end = Date(timeIntervalSince1970: 1_896_091_200)
    let lock = Lock(name: "l", spec: .init(target: .init(user: "u"), expires: end))
    #expect(lock.isOver(at: end))
    #expect(!lock.isOver(at: end - 1))
    #expect(lock.isOver(at: end + 1))
  }

  /// A lock on a host alone shuts the host out; one that names more, what goes on there.
  @Test func hostsAreShutOutByLocksOnThemAlone() {
    func hits(_ target: Lock.Target, left: TimeInterval = 60) -> Bool {
      Lock(name: "l", spec: .init(target: target, expires: Date() + left)).hits(host: "h")
    }
    #expect(hits(.init(serverID: "h")))
    #expect(!hits(.init(serverID: "h"), left: -60))
    #expect(!hits(.init(serverID: "i")))
    for target in [
      Lock.Target(user: "u", serverID: "h"), .init(role: "r", serverID: "h"), .init(db: "d", serverID: "h"),
      .init(session: "s", serverID: "h"), .init(user: "u"),
    ] { #expect(!hits(target)) }
  }

  @Test func messagesHaveALength() {
    func spec(_ count: Int) -> Lock.Spec {
      .init(target: .init(user: "u"), message: String(repeating: "m", count: count))
    }
    #expect(throws: Never.self) { try Lock(name: "l", spec: spec(1024)).validate() }
    #expect(throws: RoleError.self) { try Lock(name: "l", spec: spec(1025)).validate() }
  }

  @Test func noticesNameTheLock() {
    let target = Lock.Target(user: "u")
    #expect(Lock(name: "l", spec: .init(target: target)).notice == "locked out by lock 'l'")
    #expect(Lock(name: "l", spec: .init(target: target, message: "")).notice == "locked out by lock 'l'")
    #expect(Lock(name: "l", spec: .init(target: target, message: "m")).notice == "locked out by lock 'l': m")
  }

  @Test(arguments: [
    (#"{"kind":"lock","metadata":{"name":"l"},"spac":{}}"#, ["spac"]),
    (#"{"kind":"lock","metadata":{"name":"l","nam":""},"spec":{"target":{"user":"a"}}}"#, ["metadata", "nam"]),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"a"},"mesage":"x"}}"#, ["spec", "mesage"]),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"users":"a"}}}"#, ["spec", "target", "users"]),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{}}}"#, ["spec"]),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"a","db":"-"}}}"#, ["spec", "target"]),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"a"},"expires":"x"}}"#, ["spec", "expires"]),
  ])
  func complaintsSayWhere(json: String, path: [String]) {
    let found = #expect(throws: RoleError.self) { try lock(json) }
    #expect(found?.path == path)
  }
}
