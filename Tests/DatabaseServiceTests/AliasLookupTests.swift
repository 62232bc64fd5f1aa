import Testing

@testable import DatabaseService

struct AliasLookupTests {
  /// An answer to a question for `a.test`: two aliases one after the other, then an address.
  private let answer: [UInt8] = {
    func name(_ text: String) -> [UInt8] {
      text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }
    func record(_ owner: [UInt8], _ type: UInt8, _ data: [UInt8]) -> [UInt8] {
      owner + [0, type, 0, 1, 0, 0, 0, 60, 0, UInt8(data.count)] + data
    }
    let header: [UInt8] = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0]
    // The target of the first is written with a pointer to the question's name, at 12: `b.a.test`.
    return header + name("a.test") + [0, 1, 0, 1] + record([0xc0, 12], 5, [1, 0x62, 0xc0, 12])
      + record([0xc0, 36], 5, name("wg.example")) + record(name("wg.example"), 1, [192, 0, 2, 1])
  }()

  @Test func aliasesInTheirOrder() {
    #expect(AliasLookup.aliases(inAnswer: answer) == ["b.a.test", "wg.example"])
  }

  @Test func whatIsCutOffEndsTheList() {
    for length in 0..<answer.count {
      let found = AliasLookup.aliases(inAnswer: Array(answer[..<length]))
      #expect(["b.a.test", "wg.example"].starts(with: found))
    }
  }

  @Test func anyByteMayBeWrong() {
    for place in answer.indices {
      for value in [UInt8(0), 1, 0x3f, 0x7f, 0xc0, 0xff] {
        var broken = answer
        broken[place] = value
        #expect(AliasLookup.aliases(inAnswer: broken).count <= 255)
      }
    }
  }

  @Test func pointersInACircleLeadNowhere() {
    let header: [UInt8] = [0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
    #expect(AliasLookup.aliases(inAnswer: header + [0xc0, 14, 0xc0, 12, 0, 1, 0, 1]).isEmpty)
    #expect(AliasLookup.aliases(inAnswer: header + [0xc0, 12]).isEmpty)
  }

  @Test(arguments: ["127.0.0.1", "::1", "", "2001:db8::1"]) func addressesAreNotAskedFor(host: String) {
    #expect(AliasLookup.aliases(of: host).isEmpty)
  }
}
