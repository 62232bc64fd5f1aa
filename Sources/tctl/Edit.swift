import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import Glibc
import PKI

/// `tctl edit`.
struct Edit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Change a resource in an editor: VISUAL, else EDITOR, else vi.",
    discussion:
      "Kinds: \(ResourceKinds.list); what cannot be applied stays in a file, and so nothing that was written is lost.")

  @Argument(help: "KIND/NAME.") var resource: String
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    try await connection.withClient { client in
      let reference = try ResourceReference(resource)
      let before = try await client.find(reference)
      let text = try ResourceFile.text([before], .yaml) + "\n"
      let draft = try Draft(text, name: type(of: before).kind)
      do {
        try Editor.run(on: draft.path)
        let edited = try draft.read()
        guard draft.isChanged else {
          draft.remove()
          return print("no change was made")
        }
        let answer = try await client.put(try changed(before, edited, draft.path), .unchanged)
        draft.remove()
        print(type(of: before).notice(answer))
      } catch {
        guard draft.isChanged else {
          draft.remove()
          throw error
        }
        let (message, hint) = (error as? ToolError).map { ($0.message, $0.hint) } ?? ("\(error)", nil)
        throw ToolError(
          "\(message); your text is in \(draft.path)",
          hint: hint ?? "mend it there and apply it with 'tctl create --force \(draft.path)'")
      }
    }
  }

  /// The resource that was written, with the revision of the one that was read: it is refused if that is not the present
  /// one any more.
  private func changed(_ before: any ToolResource, _ text: String, _ path: String) throws -> any ToolResource {
    let resources = try ResourceFile.parse(text, name: path)
    guard resources.count == 1, var resource = resources.first, type(of: resource) == type(of: before),
      resource.name == before.name
    else {
      throw ToolError("an edit changes one resource, and neither its kind nor its name")
    }
    resource.revision = before.revision
    return resource
  }
}

/// The text that is being edited: a file in a directory of its own that nobody else can enter.
private struct Draft {
  let path: String
  private let directory: String
  private let original: String

  init(_ text: String, name: String) throws {
    let folder = NSTemporaryDirectory()
    var template = Array("\(folder.hasSuffix("/") ? folder : folder + "/")tctl-edit-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw ToolError("cannot make a directory in \(folder): \(String(cString: strerror(errno)))")
    }
    directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    path = "\(directory)/\(name).yaml"
    original = text
    try PrivateFile.write(text, to: path)
  }

  func read() throws -> String {
    guard let data = FileManager.default.contents(atPath: path), data.count <= ResourceFile.maximumSize,
      let text = String(data: data, encoding: .utf8)
    else { throw ToolError("the edited file is gone, or no text of at most 1 MiB") }
    return text
  }

  /// Whether there is something to lose; what cannot be read counts as that.
  var isChanged: Bool { (try? read()) != original }

  /// Best effort: it is in a private directory, and holds nothing that the user may not see.
  func remove() { try? FileManager.default.removeItem(atPath: directory) }
}

private enum Editor {
  /// Runs the editor on this terminal until it ends.
  ///
  /// - Throws: `ToolError` if it cannot be started or says that it failed.
  static func run(on path: String) throws {
    let environment = ProcessInfo.processInfo.environment
    let editor = ["VISUAL", "EDITOR"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? "vi"
    // The variable may hold options: a shell takes it apart, as it is used to, and gives way to the editor; the path comes
    // as an argument of its own.
    let status = try spawn(["/bin/sh", "-c", "exec \(editor) \"$1\"", "sh", path])
    guard status == 0 else { throw ToolError("the editor '\(editor)' ended with status \(status)") }
  }

  /// As system(3) does it: the child stays in this process's group, so the terminal is its own, and ctrl-C is its alone.
  private static func spawn(_ arguments: [String]) throws -> Int32 {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var (none, keyboard) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    sigemptyset(&keyboard)
    for number in [SIGINT, SIGQUIT] { sigaddset(&keyboard, number) }
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &keyboard)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    let before = [SIGINT, SIGQUIT].map { ($0, signal($0, SIG_IGN)) }
    defer { for (number, handler) in before { _ = signal(number, handler) } }
    let argv = arguments.map { strdup($0) } + [nil]
    defer { for pointer in argv { free(pointer) } }
    var pid: pid_t = 0
    let error = posix_spawn(&pid, arguments[0], nil, &attributes, argv, environ)
    guard error == 0 else { throw ToolError("cannot run \(arguments[0]): \(String(cString: strerror(error)))") }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 {
      guard errno == EINTR else { throw ToolError("the editor is lost: \(String(cString: strerror(errno)))") }
    }
    // wait(2): the low seven bits are the signal, the next eight the exit code.
    return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
  }
}
