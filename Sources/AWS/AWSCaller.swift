import Foundation
import Metrics
import Synchronization

/// Signs and sends requests with the retry rules of the SDKs' standard mode. Thread-safe.
struct AWSCaller: Sendable {
  let environment: AWSEnvironment

  private static let attempts = 3
  private static let budget: TimeInterval = 10
  private static let perTry: TimeInterval = 5

  /// Sends until an answer comes that is not worth a retry.
  ///
  /// - Parameter operation: what the call is counted as; see `DiagnosticsServer`.
  /// - Parameter readError: reads the service's error code and message from an answer that is not 2xx.
  func call(
    _ operation: String, service: String, region: String, credentials: AWSCredentials,
    headers: [(name: String, value: String)],
    body: [UInt8],
    readError: (HTTPAnswer) -> AWSError
  ) async throws -> HTTPAnswer {
    let began = ContinuousClock.now
    do {
      let answer = try await attempt(
        service: service, region: region, credentials: credentials, headers: headers, body: body, readError: readError)
      Self.count(operation, outcome: "ok", since: began)
      return answer
    } catch {
      Self.count(operation, outcome: (error as? AWSError)?.code ?? "cancelled", since: began)
      throw error
    }
  }

  private static func count(_ operation: String, outcome: String, since began: ContinuousClock.Instant) {
    Counter(label: "sallyport_aws_calls_total", dimensions: [("operation", operation), ("outcome", outcome)])
      .increment()
    Timer(label: "sallyport_aws_call_seconds", dimensions: [("operation", operation)])
      .recordNanoseconds(Int64((ContinuousClock.now - began) / .nanoseconds(1)))
  }

  private func attempt(
    service: String, region: String, credentials: AWSCredentials, headers: [(name: String, value: String)],
    body: [UInt8],
    readError: (HTTPAnswer) -> AWSError
  ) async throws -> HTTPAnswer {
    let url = try environment.endpoint(service: service, region: region)
    let signer = SigV4Signer(service: service, region: region)
    let start = environment.now()
    var skew: TimeInterval = 0
    var attempt = 1
    while true {
      let request = signer.sign(
        AWSRequest(method: "POST", url: url, headers: headers, body: body), with: credentials,
        at: environment.now() + skew)
      var failure: AWSError
      do {
        let answer = try await environment.transport.send(request, timeout: Self.perTry)
        if (200..<300).contains(answer.status) { return answer }
        failure =
          (300..<400).contains(answer.status)
          ? AWSError(
            "InvalidResponse", "\(service) answered with a redirect, which is not followed", status: answer.status)
          : readError(answer)
        if failure.isClockSkew, skew == 0, let theirs = answer.headers["date"].flatMap(Self.date) {
          let difference = theirs.timeIntervalSince(environment.now())
          if abs(difference) > 60 {
            skew = difference
            continue
          }
        }
      } catch let error as AWSError {
        failure = error
      }
      guard failure.isTransient, attempt < Self.attempts, environment.now().timeIntervalSince(start) < Self.budget
      else {
        throw failure
      }
      // Full jitter: clients that failed together do not come back together.
      let pause = Double.random(in: 0...min(1, 0.1 * pow(2, Double(attempt))))
      try await Task.sleep(for: .seconds(pause))
      attempt += 1
    }
  }

  /// An HTTP date (RFC 9110 section 5.6.7, the preferred form).
  private static func date(_ text: String) -> Date? {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "GMT")
    formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
    return formatter.date(from: text)
  }
}
