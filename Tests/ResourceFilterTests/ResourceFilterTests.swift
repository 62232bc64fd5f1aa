import Testing

@testable import ResourceFilter

private let sales = FilteredResource(
  name: "sales", description: "Quarterly numbers", protocol: "postgres", uri: "db.example.com:5439",
  labels: ["env": "dev", "team": "a"])

@Suite struct ResourceFilterTests {
  @Test(arguments: [
    (#"name == "sales""#, true), (#"name != "sales""#, false), (#"labels["env"] == "dev" && name != "x""#, true),
    (#"labels.env == "prod" || labels.team == "a""#, true), (#"labels["none"] == """#, true),
    (#"!(labels["env"] == "dev")"#, false), (#"!!(name == 'sales')"#, true), (#"exists(labels["env"])"#, true),
    (#"exists(labels["none"])"#, false), (#"hasPrefix(name, "sa") && !hasPrefix(uri, "x")"#, true),
    (#"equals(protocol, "postgres")"#, true), (#"search("QUARTER", "env=dev")"#, true), (#"search("nothing")"#, false),
    (#"resource.metadata.name == "sales" && resource.spec.protocol == "postgres""#, true),
    (#"resource.metadata.labels["team"] == "a""#, true),
    // && binds stronger than ||.
    (#"name == "sales" || name == "x" && name == "y""#, true),
    (#"(name == "sales" || name == "x") && name == "y""#, false), (#"labels["env"]==labels["team"]"#, false),
  ])
  func queries(_ text: String, _ expected: Bool) throws {
    #expect(try ResourcePredicate(text).matches(sales) == expected)
  }

  @Test(arguments: [
    "", "name", "name ==", "name == \"x", "name = \"x\"", "nam == \"x\"", "(name == \"x\"", "name == \"x\")",
    "unknown(name)", "equals(name)", "exists(name)", "search(name)", "labels == \"x\"", "labels[env] == \"x\"",
    "labels[\"env\" == \"x\"", "name == \"x\" name == \"y\"", "name == \"x\" &", "&& name == \"x\"",
    "name.first == \"x\"",
    "== == ==", "!", "resource == \"x\"", "1 == 1", "\u{0}",
  ])
  func whatCannotBeReadNamesAColumn(_ text: String) {
    #expect { try ResourcePredicate(text) } throws: { "\($0)".hasPrefix("column ") }
  }

  @Test func lengthAndDepthAreBounded() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "(", count: depth) + "name == \"sales\"" + String(repeating: ")", count: depth)
    }
    #expect(try ResourcePredicate(nested(63)).matches(sales))
    #expect(throws: FilterError.self) { try ResourcePredicate(nested(64)) }
    #expect(throws: FilterError.self) { try ResourcePredicate(String(repeating: " ", count: 4097)) }
    // As many negations as fit need no depth.
    #expect(try ResourcePredicate(String(repeating: "!", count: 4000) + "(name == \"sales\")").matches(sales))
  }

  @Test func labelSelectors() throws {
    #expect(try LabelSelector("env=dev").matches(sales.labels))
    #expect(try LabelSelector("env=dev, team = a").matches(sales.labels))
    #expect(try LabelSelector("env=*").matches(sales.labels))
    #expect(try !LabelSelector("env=dev,team=b").matches(sales.labels))
    #expect(try !LabelSelector("none=*").matches(sales.labels))
    for text in ["", ",", "env", "=dev"] { #expect(throws: FilterError.self) { try LabelSelector(text) } }
  }

  @Test func searchTerms() {
    #expect(searchWords("a, b  c") == ["a", "b", "c"])
    #expect(searchWords("\"two words\",x") == ["two words", "x"])
    #expect(sales.contains(["Sales", "TEAM=a"]))
    #expect(!sales.contains(["sales", "other"]))
  }
}
