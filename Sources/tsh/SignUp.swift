import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import Glibc
import QRCode
import Secrets

/// `tsh signup`: what the page behind a one-time link does, in the terminal.
struct SignUp: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "signup", abstract: "Choose password and second factor with the link of 'tctl users add'.")

  @Argument(help: "The link.") var link: String
  @OptionGroup var secrets: SecretOptions
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let (address, secret) = try parse()
      common.warnIfInsecure()
      let path = "/v1/webapi/invites/\(APIClient.segment(secret))"
      try await APIClient(address: "\(address)", insecure: common.insecure).closing { client in
        let invite: InviteDetails = try await client.get(path)
        let password = try choosePassword(for: invite.user)
        if let uri = invite.otpURI, let key = invite.otpSecret { show(uri, key, invite.secondFactor) }
        let code = try secrets.code(invite.secondFactor)
        let acceptance = InviteAcceptance(password: password.revealText() ?? "", otp: code?.revealText())
        let accepted: InviteAccepted = try await client.post(path, acceptance)
        print(accepted.hasSecondFactor ? "Password and second factor have been set." : "The password has been set.")
        print("Now log in:\n\n  tsh login --proxy=\(address) --user=\(Terminal.safe(accepted.user))\n")
      }
    }
  }

  private func parse() throws -> (ProxyAddress, secret: String) {
    let complaint = ToolError("this is not a sign-up link", hint: "use the one that 'tctl users add' printed")
    guard let url = URLComponents(string: link), url.scheme == "https", let host = url.host, !host.isEmpty else {
      throw complaint
    }
    let parts = url.path.split(separator: "/")
    guard parts.count == 3, parts[0] == "web", parts[1] == "invite" else { throw complaint }
    return (try ProxyAddress("\(host):\(url.port ?? 443)"), String(parts[2]))
  }

  private func choosePassword(for user: String) throws -> Secret {
    let first = try secrets.password("New password of \(Terminal.safe(user)), at least 12 characters: ")
    guard secrets.passwordFile == nil else { return first }
    let second = try secrets.password("Again: ")
    guard first.withBytes({ bytes in second.constantTimeEquals(bytes) }) else {
      throw ToolError("the two passwords differ", hint: "try again: the link is still good")
    }
    return first
  }

  private func show(_ uri: String, _ key: String, _ mode: SecondFactorMode) {
    let choice = mode.isRequired ? "" : " if you want a second factor"
    print("Scan this with your authenticator app\(choice):\n")
    if let code = QRCode(uri) { print(code.halfBlocks(colors: isatty(STDOUT_FILENO) == 1)) }
    print("\nKey for typing: \(Terminal.safe(key))\nAddress: \(Terminal.safe(uri))\n")
    // What follows is asked on the terminal; the code must stand there first.
    fflush(nil)
  }
}
