import Foundation
import Glibc
import Testing

@testable import Systemd

/// A datagram socket in systemd's place.
private final class FakeManager {
  let path: String
  private let descriptor: Int32

  /// - Parameter isAbstract: a name outside the file system, as `@name`.
  init(isAbstract: Bool) throws {
    let name = "sallyport-notify-\(getpid())-\(UInt32.random(in: .min ... .max))"
    path = isAbstract ? "@" + name : NSTemporaryDirectory() + name
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = isAbstract ? [0] + Array(name.utf8) : Array(path.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let length = socklen_t(2 + bytes.count)
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
    }
    try #require(status == 0)
  }

  deinit {
    close(descriptor)
    unlink(path)
  }

  func receive() -> [String] {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self).split(separator: "\n").map(String.init)
  }
}

struct ServiceNotifierTests {
  @Test(arguments: [false, true])
  func oneMessageACall(isAbstract: Bool) throws {
    let manager = try FakeManager(isAbstract: isAbstract)
    let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": manager.path])
    try notifier.notify([.ready, .status("two\nlines")])
    #expect(manager.receive() == ["READY=1", "STATUS=two lines"])
    try notifier.notify([.stopping, .extendTimeout(.milliseconds(1500))])
    #expect(manager.receive() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=1500000"])
    try notifier.notify([.reloading])
    #expect(manager.receive().last?.hasPrefix("MONOTONIC_USEC=") == true)
    #expect(manager.receive() == [])
  }

  @Test func withoutASocketNothingHappens() throws {
    for environment in [[:], ["NOTIFY_SOCKET": ""], ["NOTIFY_SOCKET": "relative"]] {
      try ServiceNotifier(environment: environment).notify([.ready])
    }
  }

  @Test func aSocketThatIsNotThereIsAnError() {
    for path in ["/nonexistent/notify", "/" + String(repeating: "x", count: 200)] {
      #expect(throws: ServiceNotifierError.self) {
        try ServiceNotifier(environment: ["NOTIFY_SOCKET": path]).notify([.ready])
      }
    }
  }

  @Test func watchdogIsForTheProcessThatIsNamed() {
    func interval(_ environment: [String: String]) -> Duration? {
      ServiceNotifier(environment: environment).watchdogInterval
    }
    #expect(interval(["WATCHDOG_USEC": "30000000"]) == .seconds(30))
    #expect(interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "\(getpid())"]) == .seconds(30))
    #expect(interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"]) == nil)
    for text in ["0", "-5", "many", "99999999999999999999"] { #expect(interval(["WATCHDOG_USEC": text]) == nil) }
  }
}
