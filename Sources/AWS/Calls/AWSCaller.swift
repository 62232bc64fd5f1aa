import Foundation
import Metrics
import Synchronization

/// Signs and sends requests with the retry rules of the SDKs' standard mode, for one chain of calls that share a time
/// budget. Thread-safe.
///
/// Failures are `AWSError`s that name the call; see its `call`.
public struct AWSCaller: Sendable {
  let environment: AWSEnvironment
  /// Seconds that all calls may take together.
  private let budget: TimeInterval
  private let start = Start()

  private static let perTry: TimeInterval = 5

  /// When the first call was made, in terms of the environment's uptime.
  private final class Start: Sendable {
    private let time = Mutex<TimeInterval?>(nil)

    func time(now: TimeInterval) -> TimeInterval {
      time.withLock { time in
        time = time ?? now
        return time ?? now
      }
    }
  }

  /// Time begins to run at the first call.
  ///
  /// - Parameter budget: seconds for all calls together; `nil`: the environment's `callBudget`.
  public init(environment: AWSEnvironment, budget: TimeInterval? = nil) {
    self.environment = environment
    self.budget = budget ?? environment.callBudget
  }

  /// Seconds that are left for the chain.
  private var remaining: TimeInterval {
    let now = environment.uptime()
    return start.time(now: now) + budget - now
  }

  /// Calls an action of a service that speaks the query protocol (STS, IAM, Redshift).
  ///
  /// - Parameters:
  ///   - parameters: of the action alone: `Action` and `Version` are added.
  ///   - region: a global service such as IAM takes its partition from it only.
  ///   - credentials: `nil` sends the request unsigned.
  /// - Returns: the element `<ACTIONResult>`, or the whole answer of an action that has none.
  public func call(
    _ service: AWSService, _ action: String, _ parameters: [(name: String, value: String)] = [], region: String,
    credentials: AWSCredentials?
  ) async throws -> XMLTree {
    let form = [("Action", action), ("Version", service.version)] + parameters.map { ($0.name, $0.value) }
    let body = form.map { "\(SigV4Signer.encode($0.0))=\(SigV4Signer.encode($0.1))" }.joined(separator: "&")
    let answer = try await send(
      service, action, region: region, credentials: credentials,
      headers: [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")], body: Array(body.utf8))
    let root = try XMLTree.read(answer.body)
    return root[action + "Result"] ?? root
  }

  /// Calls an action of a service that speaks JSON 1.1 (redshift-serverless).
  public func call<Output: Decodable>(
    _ service: AWSService, _ action: String, json input: some Encodable, as output: Output.Type = Output.self,
    region: String, credentials: AWSCredentials
  ) async throws -> Output {
    let answer = try await send(
      service, action, region: region, credentials: credentials,
      headers: [("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "\(service.target ?? "").\(action)")],
      body: Array(try JSONEncoder().encode(input)))
    guard let output = try? JSONDecoder().decode(output, from: Data(answer.body)) else {
      throw AWSError("InvalidResponse", "the answer of \(service.name) to \(action) cannot be read")
    }
    return output
  }

  /// Sends until an answer comes that is not worth a retry, or the chain's time is over.
  func send(
    _ service: AWSService, _ action: String, method: String = "POST", path: String = "", region: String,
    credentials: AWSCredentials?, headers: [(name: String, value: String)], body: [UInt8] = []
  ) async throws -> HTTPAnswer {
    let began = ContinuousClock.now
    do {
      let endpoint = try environment.endpoint(of: service, region: region)
      guard let url = path.isEmpty ? endpoint.url : URL(string: path, relativeTo: endpoint.url)?.absoluteURL else {
        throw AWSError("InvalidParameter", "'\(path)' is not a path")
      }
      let request = AWSRequest(method: method, url: url, headers: headers, body: body)
      let answer = try await attempt(service, action, request, signingRegion: endpoint.signingRegion, credentials)
      count(action, outcome: "ok", since: began)
      return answer
    } catch {
      count(action, outcome: (error as? AWSError)?.code ?? "cancelled", since: began)
      throw error
    }
  }

  private func attempt(
    _ service: AWSService, _ action: String, _ unsigned: AWSRequest, signingRegion: String,
    _ credentials: AWSCredentials?
  ) async throws -> HTTPAnswer {
    let signer = SigV4Signer(service: service.name, region: signingRegion)
    let attempts = try RetryRules.attempts(environment)
    var taken = 0
    var isClockCorrected = false
    var attempt = 1
    while true {
      var failure: AWSError
      var requestID: String?
      do {
        let timeout = min(Self.perTry, remaining)
        guard timeout > 0 else {
          throw AWSError(
            "Timeout", "AWS took longer than \(seconds(budget)) s over all calls of a login",
            mend: "Try again; check the network between this host and AWS if it persists.")
        }
        let request = credentials.map { signer.sign(unsigned, with: $0, at: environment.clock.now) } ?? unsigned
        let answer = try await environment.transport.send(request, timeout: timeout)
        if (200..<300).contains(answer.status) {
          environment.retryQuota.succeeded(service, taken: taken)
          environment.clock.learn(httpDate: answer.headers["date"])
          return answer
        }
        failure = ErrorAnswer.read(answer, service, action)
        requestID = ErrorAnswer.requestID(answer)
        if failure.isClockSkew, !isClockCorrected, environment.clock.learn(httpDate: answer.headers["date"]) {
          isClockCorrected = true
          continue
        }
      } catch let error as AWSError {
        failure = error
      }
      failure.call = AWSError.Call(
        service: service.name, operation: action, endpoint: unsigned.url.authority, requestID: requestID)
      let pause = RetryRules.pause(after: attempt)
      guard RetryRules.isWorthRetrying(failure), attempt < attempts, pause < remaining,
        let cost = environment.retryQuota.take(for: failure, service: service)
      else { throw failure }
      taken = cost
      try await Task.sleep(for: .seconds(pause))
      attempt += 1
    }
  }

  private func seconds(_ time: TimeInterval) -> String { "\(time.rounded(.up).formatted(.number.grouping(.never)))" }

  private func count(_ operation: String, outcome: String, since began: ContinuousClock.Instant) {
    Counter(label: "sallyport_aws_calls_total", dimensions: [("operation", operation), ("outcome", outcome)])
      .increment()
    Timer(label: "sallyport_aws_call_seconds", dimensions: [("operation", operation)])
      .recordNanoseconds(Int64((ContinuousClock.now - began) / .nanoseconds(1)))
  }

  private static let maximumItems = 10_000

  /// All items of a listing that comes in pages.
  ///
  /// - Parameter page: gives the page that begins at a marker (`nil`: the first) and the next marker, `nil` at the end.
  /// - Throws: `AWSError` with code `InvalidResponse` for a listing that has no end, or more items than anybody has.
  public static func allPages<Item>(
    _ page: (_ marker: String?) async throws -> (items: [Item], next: String?)
  ) async throws -> [Item] {
    var items: [Item] = []
    var marker: String?
    for _ in 0..<1000 {
      let result = try await page(marker)
      items += result.items
      guard items.count <= maximumItems else {
        throw AWSError("InvalidResponse", "a listing has more than \(maximumItems) entries")
      }
      guard let next = result.next, !next.isEmpty else { return items }
      guard next != marker else { break }
      marker = next
    }
    throw AWSError("InvalidResponse", "the pages of a listing do not end")
  }
}

/// Reads answers that are not 2xx.
enum ErrorAnswer {
  private struct Problem: Decodable {
    let type: String?
    let message: String?
    /// Some services capitalise it.
    let capitalMessage: String?

    enum CodingKeys: String, CodingKey {
      case type = "__type"
      case message
      case capitalMessage = "Message"
    }
  }

  static func read(_ answer: HTTPAnswer, _ service: AWSService, _ action: String) -> AWSError {
    guard !(300..<400).contains(answer.status) else {
      return AWSError(
        "InvalidResponse", "\(service.name) answered with a redirect, which is not followed", status: answer.status)
    }
    // An error body that cannot be read is still an error of this status.
    let fallback = "\(service.name) refused \(action)"
    guard service.version.isEmpty else {
      let error = (try? XMLTree.read(answer.body))?["Error"]
      return AWSError(
        error?.value("Code") ?? "HTTP \(answer.status)", error?.value("Message") ?? fallback, status: answer.status)
    }
    let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body))
    // "prefix#Code:uri": only the middle is the code.
    let type = problem?.type ?? answer.headers["x-amzn-errortype"] ?? "HTTP \(answer.status)"
    let code = String((type.split(separator: "#").last ?? "").split(separator: ":").first ?? "Unknown")
    return AWSError(code, problem?.message ?? problem?.capitalMessage ?? fallback, status: answer.status)
  }

  static func requestID(_ answer: HTTPAnswer) -> String? {
    answer.headers["x-amzn-requestid"] ?? (try? XMLTree.read(answer.body))?.value("RequestId")
  }
}

extension URL {
  /// Host and port, as far as they are written.
  var authority: String { (host ?? "") + (port.map { ":\($0)" } ?? "") }
}
