import Testing
import TextForms

struct AddressBlockTests {
  @Test(arguments: [
    ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.1.2.3", "10.1.2.3", true),
    ("10.1.2.3", "10.1.2.4", false), ("0.0.0.0/0", "255.255.255.255", true), ("0.0.0.0/0", "2001:db8::1", false),
    ("::/0", "10.0.0.1", true), ("::ffff:10.0.0.0/104", "10.9.9.9", true), ("2001:db8::/32", "2001:db8:ffff::1", true),
    ("2001:db8::/32", "2001:db9::1", false), ("2001:db8::1", "2001:db8::1", true), ("::1", "::2", false),
    ("2001:db8::/65", "2001:db8::8000:0:0:0", false), ("10.0.0.0/24", "10.0.0.0/8", false),
  ])
  func containing(block: String, other: String, expected: Bool) throws {
    #expect(try #require(AddressBlock(block)).contains(try #require(AddressBlock(other))) == expected)
  }

  @Test(arguments: ["10.0.0.0/8", "10.1.2.3", "::1", "2001:db8::/32", "::/0", "0.0.0.0/0", "192.168.1.128/25"])
  func writtenAndReadBack(text: String) { #expect(AddressBlock(text)?.description == text) }

  @Test(arguments: [
    "", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.1/8", "::1/64",
    "::/129", "10.0.0", "10.0.0.256", "localhost", "10.0.0.0/99999999999999999999",
  ])
  func refused(text: String) { #expect(AddressBlock(text) == nil) }

  @Test func networksOfClients() throws {
    let client = try #require(AddressBlock("2001:db8:1:2:3:4:5:6"))
    #expect(client.widened(to: 64).description == "2001:db8:1:2::/64")
    #expect(try #require(AddressBlock("10.0.0.0/8")).widened(to: 128).description == "10.0.0.0/8")
  }
}
