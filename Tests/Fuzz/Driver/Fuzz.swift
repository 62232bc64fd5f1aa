import Glibc

/// libFuzzer's entry as a library (llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library").
@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
  _ count: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// `fuzz TARGET [OPTION...] [CORPUS...]`: libFuzzer on one target, options and folders being libFuzzer's.
/// `fuzz --list`: the names of targets and their longest inputs.
@main
enum Fuzz {
  nonisolated(unsafe) private static var target = FuzzTarget.startup

  static func main() {
    let name = CommandLine.arguments.dropFirst().first
    if name == "--list" {
      for target in FuzzTarget.all { print(target.name, target.maximumLength) }
      return
    }
    guard let chosen = FuzzTarget.all.first(where: { $0.name == name }) else {
      print("usage: fuzz --list | fuzz TARGET [OPTION...] [CORPUS...]")
      exit(2)
    }
    target = chosen
    // The program's name, then what stands behind the target's.
    var arguments = [CommandLine.unsafeArgv[0]] + (2..<Int(CommandLine.argc)).map { CommandLine.unsafeArgv[$0] } + [nil]
    var count = CommandLine.argc - 1
    exit(
      arguments.withUnsafeMutableBufferPointer { buffer in
        guard var base = buffer.baseAddress else { return 2 }
        return runDriver(&count, &base) { bytes, count in
          do {
            try Fuzz.target.run(UnsafeRawBufferPointer(start: bytes, count: count))
          } catch {
            fatalError("\(error)")
          }
          return 0
        }
      })
  }
}
