import ChildProcess
import ConfigurationFile
import Foundation
import Logging

/// Keeps the dynamic labels of the databases of teleport.yaml up to date.
///
/// Works on the Dispatch pool and on threads of its own that wait for the commands. A command that fails leaves the value
/// that was known: a role must not open or close because a script has hiccuped.
public actor DynamicLabels {
  private struct Key: Hashable {
    let database: String
    let label: String
  }

  private struct Schedule {
    let label: DynamicLabel
    var due = ContinuousClock.now
    var isFailing = false
  }

  private let catalog: DatabaseCatalog
  private let searchPath: String
  private var schedules: [Key: Schedule] = [:]
  private let logger = Logger(label: "db")

  /// Seconds one command may take; a shorter period is its limit.
  private static let longestRun = 30
  private static let longestValue = 1024
  private static let atOnce = 4

  /// - Parameter environment: where the commands' PATH is taken from, the only variable that they are given: this process
  ///   may hold credentials in others.
  public init(catalog: DatabaseCatalog, environment: [String: String] = ProcessInfo.processInfo.environment) {
    self.catalog = catalog
    searchPath = environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
  }

  /// Runs what is due, again and again until cancelled.
  ///
  /// - Parameter changed: called when the value of a label is another one than before.
  public func run(_ changed: @escaping @Sendable () async -> Void) async throws {
    while true {
      if await refresh() { await changed() }
      try await Task.sleep(for: .seconds(1))
    }
  }

  /// Runs what is due now; whether a label has changed.
  func refresh() async -> Bool {
    takeUp(catalog.dynamicLabels)
    let due = schedules.filter { $0.value.due <= .now }.sorted { $0.value.due < $1.value.due }
    for (key, schedule) in due { schedules[key]?.due = .now + .seconds(schedule.label.period.seconds) }
    var isChanged = false
    await withTaskGroup(of: (Key, Result<String, ChildProcess.Failure>).self) { group in
      var rest = due[...]
      while let (key, schedule) = rest.popFirst() {
        if due.count - rest.count > Self.atOnce, let done = await group.next() { isChanged = settle(done) || isChanged }
        let path = searchPath
        group.addTask { (key, await Self.value(of: schedule.label, path)) }
      }
      for await done in group { isChanged = settle(done) || isChanged }
    }
    return isChanged
  }

  /// New labels are due at once; of those that are gone, and of those whose command is another, nothing is kept.
  private func takeUp(_ wanted: [String: [DynamicLabel]]) {
    var next: [Key: Schedule] = [:]
    for (database, labels) in wanted {
      for label in labels {
        let key = Key(database: database, label: label.name)
        next[key] = schedules[key].flatMap { $0.label == label ? $0 : nil } ?? Schedule(label: label)
      }
    }
    schedules = next
  }

  private func settle(_ done: (key: Key, value: Result<String, ChildProcess.Failure>)) -> Bool {
    let (database, label) = (done.key.database, done.key.label)
    switch done.value {
    case .success(let value):
      schedules[done.key]?.isFailing = false
      return catalog.set(label, to: value, of: database)
    case .failure(let failure):
      if schedules[done.key]?.isFailing == false {
        logger.warning("label '\(label)' of database '\(database)' stays as it was: its command \(failure.reason)")
      }
      schedules[done.key]?.isFailing = true
      return false
    }
  }

  private static func value(of label: DynamicLabel, _ path: String) async -> Result<String, ChildProcess.Failure> {
    do {
      let output = try await ChildProcess.run(
        label.command, environment: ["PATH": path], maximumOutput: longestValue,
        timeout: Double(min(label.period.seconds, longestRun)))
      let text = String(decoding: output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
      return .success(
        String(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : Character($0) }))
    } catch let failure as ChildProcess.Failure {
      return .failure(failure)
    } catch {
      return .failure(ChildProcess.Failure(reason: "was not run: \(error)"))
    }
  }
}
