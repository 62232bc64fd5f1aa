import Foundation
import Synchronization

/// What `--debug` shows on stderr. Off until switched on; callable from any thread.
public enum DebugLog {
  private static let isOn = Atomic(false)

  public static func turnOn() { isOn.store(true, ordering: .relaxed) }

  public static func write(_ text: @autoclosure () -> String) {
    guard isOn.load(ordering: .relaxed) else { return }
    let line = "DEBUG \(Date().ISO8601Format()) \(Terminal.safe(text()))\n"
    FileHandle.standardError.write(Data(line.utf8))
  }
}
