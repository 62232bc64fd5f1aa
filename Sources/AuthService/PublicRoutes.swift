import ControlAPI
import Foundation
import Hummingbird
import NIOCore
import Secrets

/// What anyone may call: version, trust anchors, login, sign-up.
struct PublicRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/webapi/ping") { request, context in
      try context.responseEncoder.encode(
        Ping(serverVersion: sallyportVersion, clusterName: auth.clusterName), from: request, context: context)
    }
    router.get("/v1/webapi/automaticupgrades/channel/default/version") { _, _ in "v\(sallyportVersion)" }
    router.get("/v1/webapi/cas") { _, _ in try auth.hostCAPEM }
    router.post("/v1/webapi/login") { request, context in
      let body = try await request.decode(as: LoginRequest.self, context: context)
      let answer = try await auth.login(body, from: context.peer.remoteAddress)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.get("/web/invite/:secret") { _, context in
      page("Choose a password", form(user: try auth.invitedUser(try context.parameters.require("secret"))))
    }
    router.post("/web/invite/:secret") { request, context in
      let secret = try context.parameters.require("secret")
      let body = try await request.body.collect(upTo: 16 * 1024)
      guard let password = Self.password(in: String(buffer: body)) else {
        throw AuthError.invalid("send the form field 'password'")
      }
      let user = try auth.acceptInvite(secret, password: password)
      return page(
        "Password set", "<p>Now log in: <code>tsh login --proxy=\(auth.link("").dropFirst(8)) --user=\(user)</code></p>"
      )
    }
  }

  /// The form as browsers and curl send it (application/x-www-form-urlencoded).
  private static func password(in form: String) -> Secret? {
    for field in form.split(separator: "&") {
      let parts = field.split(separator: "=", maxSplits: 1)
      guard parts.count == 2, parts[0] == "password" else { continue }
      return parts[1].replacingOccurrences(of: "+", with: " ").removingPercentEncoding.map { Secret(utf8: $0) }
    }
    return nil
  }

  /// User names are of a safe alphabet (`Role.isValidName`), so nothing here needs escaping.
  private func form(user: String) -> String {
    """
    <form method="post"><p>User <b>\(user)</b></p>
    <p><label>Password, at least 12 characters: <input type="password" name="password" minlength="12" required></label></p>
    <button>Set password</button></form>
    """
  }

  private func page(_ title: String, _ body: String) -> Response {
    let html = "<!doctype html><meta charset=\"utf-8\"><title>\(title)</title><h1>\(title)</h1>\(body)\n"
    return Response(
      status: .ok,
      headers: [
        .contentType: "text/html; charset=utf-8", .cacheControl: "no-store",
        .contentSecurityPolicy: "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
      ], body: .init(byteBuffer: ByteBuffer(string: html)))
  }
}
