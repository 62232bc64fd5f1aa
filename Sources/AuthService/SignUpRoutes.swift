import ControlAPI
import Foundation
import Hummingbird
import NIOCore
import QRCode
import Secrets

/// What a one-time link leads to: a page for browsers, and the same as JSON for `tsh signup`.
struct SignUpRoutes {
  let auth: AuthServer

  private static let maximumForm = 16 * 1024

  func add(to router: Router<CallContext>) {
    router.get("/v1/webapi/invites/:secret") { request, context in
      let details = try auth.inviteDetails(try context.parameters.require("secret"))
      return try context.responseEncoder.encode(details, from: request, context: context)
    }
    router.post("/v1/webapi/invites/:secret") { request, context in
      let body = try await request.decode(as: InviteAcceptance.self, context: context)
      let accepted = try auth.acceptInvite(
        try context.parameters.require("secret"), password: Secret(utf8: body.password),
        otp: body.otp.map { Secret(utf8: $0) })
      return try context.responseEncoder.encode(accepted, from: request, context: context)
    }
    router.get("/web/invite/:secret") { _, context in
      try page { form(try auth.inviteDetails(try context.parameters.require("secret"))) }
    }
    router.post("/web/invite/:secret") { request, context in
      let secret = try context.parameters.require("secret")
      let fields = Self.fields(String(buffer: try await request.body.collect(upTo: Self.maximumForm)))
      return try page {
        guard let password = fields["password"] else { throw AuthError.invalid("send the form field 'password'") }
        // An empty field of the form means that no second factor is wanted.
        let otp = fields["otp"].flatMap { $0.isEmpty ? nil : Secret(utf8: $0) }
        return done(try auth.acceptInvite(secret, password: Secret(utf8: password), otp: otp))
      } orForm: {
        try? auth.inviteDetails(secret)
      }
    }
  }

  /// A form as browsers and curl send it (application/x-www-form-urlencoded); spaces in codes are as apps show them.
  private static func fields(_ form: String) -> [String: String] {
    var fields: [String: String] = [:]
    for field in form.split(separator: "&") {
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { continue }
      fields[String(parts[0])] = parts[1].replacing("+", with: " ").removingPercentEncoding
    }
    fields["otp"] = fields["otp"]?.filter { !$0.isWhitespace }
    return fields
  }

  // MARK: Pages

  private struct Content {
    let title: String
    let body: String
  }

  /// User and cluster names are of a safe alphabet (`Role.isValidName`) and URIs percent-encoded, but a page should not
  /// depend on that.
  private static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
      .replacing("\"", with: "&quot;")
  }

  private func form(_ invite: InviteDetails, problem: String? = nil) -> Content {
    var body = problem.map { "<p role=\"alert\"><b>\(Self.escaped($0))</b></p>\n" } ?? ""
    body += """
      <form method="post" autocomplete="off"><p>User <b>\(Self.escaped(invite.user))</b></p>
      <p><label>Password, at least 12 characters: <input type="password" name="password" minlength="12" \
      autocomplete="new-password" required></label></p>

      """
    if let uri = invite.otpURI, let secret = invite.otpSecret {
      let isRequired = invite.secondFactor.isRequired
      body += """
        <p>Scan this code with your authenticator app\(isRequired ? "" : " if you want a second factor"):</p>
        \(QRCode(uri)?.svg() ?? "")
        <p><a href="\(Self.escaped(uri))">Open in an app on this device</a>, or type the key <code>\(secret)</code></p>
        <p><label>Six-digit code of the app\(isRequired ? "" : "; leave empty to go without"): <input name="otp" \
        inputmode="numeric" pattern="[0-9 ]*" maxlength="7" autocomplete="one-time-code"\(isRequired ? " required" : "")>\
        </label></p>

        """
    }
    return Content(title: "Sign up to \(invite.clusterName)", body: body + "<button>Sign up</button></form>")
  }

  private func done(_ accepted: InviteAccepted) -> Content {
    let login = "tsh login --proxy=\(auth.link("").dropFirst("https://".count)) --user=\(accepted.user)"
    return Content(
      title: accepted.hasSecondFactor ? "Password and second factor set" : "Password set",
      body: "<p>Now log in: <code>\(Self.escaped(login))</code></p>")
  }

  /// Answers in HTML, whatever becomes of it; a mistake shows the form again while the link is good.
  private func page(_ make: () throws -> Content, orForm invite: () -> InviteDetails? = { nil }) throws -> Response {
    do {
      return response(try make(), .ok)
    } catch let error as AuthError {
      let problem = error.body.error.hint.map { "\(error); \($0)" } ?? "\(error)"
      let content =
        invite().map { form($0, problem: problem) }
        ?? Content(title: "Not possible", body: "<p>\(Self.escaped(problem))</p>")
      return response(content, .init(code: error.status))
    }
  }

  private func response(_ content: Content, _ status: HTTPResponse.Status) -> Response {
    let title = Self.escaped(content.title)
    let html = """
      <!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
      <title>\(title)</title><h1>\(title)</h1>
      \(content.body)
      </html>

      """
    return Response(
      status: status,
      headers: [
        .contentType: "text/html; charset=utf-8", .cacheControl: "no-store",
        .contentSecurityPolicy: "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
      ], body: .init(byteBuffer: ByteBuffer(string: html)))
  }
}
