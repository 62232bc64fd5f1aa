import CPlatform

/// The names that a name is an alias of, by the DNS: how a custom domain tells what it stands for. Blocks.
enum AliasLookup {
  private static let maximumAnswer = 16_384

  /// Targets of the CNAME records that lead from `host` to its address, in their order; none for a name that has none.
  static func aliases(of host: String) -> [String] {
    guard !host.isEmpty, host.utf8.contains(where: { $0 > 0x39 }), !host.contains(":") else { return [] }
    var answer = [UInt8](repeating: 0, count: maximumAnswer)
    let count = Int(platform_query_address(host, &answer, Int32(answer.count)))
    guard count > 0, count <= answer.count else { return [] }
    return aliases(inAnswer: Array(answer[..<count]))
  }

  /// Reads an answer (RFC 1035 section 4); what is malformed ends the list.
  static func aliases(inAnswer message: [UInt8]) -> [String] {
    let header = 12
    guard let questions = number(message, 4), let answers = number(message, 6) else { return [] }
    var position = header
    for _ in 0..<questions {
      guard let end = name(message, position)?.end else { return [] }
      position = end + 4
    }
    var found: [String] = []
    for _ in 0..<answers {
      // Name, then type, class, time to live and length of the data.
      guard let end = name(message, position)?.end, let type = number(message, end),
        let length = number(message, end + 8)
      else { break }
      let cname = 5
      if type == cname, let target = name(message, end + 10)?.text { found.append(target) }
      position = end + 10 + length
    }
    return found
  }

  private static func number(_ message: [UInt8], _ position: Int) -> Int? {
    guard position + 1 < message.count else { return nil }
    return Int(message[position]) << 8 | Int(message[position + 1])
  }

  /// A name and where it ends; a pointer leads on to an earlier place.
  private static func name(_ message: [UInt8], _ start: Int) -> (text: String, end: Int)? {
    var labels: [String] = []
    var position = start
    var end: Int?
    // Names have at most 127 labels; loops of pointers end here too.
    for _ in 0..<255 {
      guard position < message.count else { return nil }
      let length = Int(message[position])
      if length == 0 { return (labels.joined(separator: "."), end ?? position + 1) }
      if length & 0xc0 == 0xc0 {
        guard let pointer = number(message, position) else { return nil }
        end = end ?? position + 2
        position = pointer & 0x3fff
      } else {
        guard length < 64, position + length < message.count else { return nil }
        labels.append(String(decoding: message[(position + 1)...(position + length)], as: UTF8.self))
        position += length + 1
      }
    }
    return nil
  }
}
