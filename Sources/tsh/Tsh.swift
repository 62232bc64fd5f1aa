import ArgumentParser

/// The users' tool.
@main
struct Tsh: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tsh", abstract: "Log in to a Sallyport cluster and connect to its databases.",
    subcommands: [
      Login.self, Logout.self, SignUp.self, Status.self, Clusters.self, Database.self, Proxy.self, Sessions.self,
      Version.self,
    ])
}
