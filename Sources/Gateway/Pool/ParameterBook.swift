import PostgresWire

/// What a database has reported of its parameters, the latest value of each, in the order of their first report.
struct ParameterBook {
  struct Parameter: Equatable {
    let name: [UInt8]
    var value: [UInt8]
  }

  private(set) var parameters: [Parameter] = []
  private var walker = MessageWalker()
  /// Of a ParameterStatus that a chunk boundary cuts.
  private var body: [UInt8] = []

  /// More than any server reports.
  private static let maximumCount = 1000
  /// The longest report that is read.
  private static let maximumBody = 65_536

  /// Looks for reports in whole or cut messages of a backend's stream.
  mutating func note(_ bytes: UnsafeRawBufferPointer) {
    var position = 0
    while let part = walker.next(bytes, &position) {
      if part.type == UInt8(ascii: "S") { note(part) }
    }
  }

  /// Takes one part of a ParameterStatus.
  mutating func note(_ part: MessageWalker.Part) {
    if part.isFirst, part.isLast { return set(part.bytes) }
    if part.isFirst { body.removeAll() }
    guard body.count + part.bytes.count <= Self.maximumBody else { return body.removeAll() }
    body.append(contentsOf: part.bytes)
    guard part.isLast else { return }
    let whole = body
    body = []
    whole.withUnsafeBytes { set($0) }
  }

  private mutating func set(_ body: UnsafeRawBufferPointer) {
    guard let report = BackendMessage.parameterStatus(body) else { return }
    if let index = parameters.firstIndex(where: { $0.name == report.name }) {
      parameters[index].value = report.value
    } else if parameters.count < Self.maximumCount {
      parameters.append(Parameter(name: report.name, value: report.value))
    }
  }

  /// All of it as ParameterStatus messages.
  var encoded: [UInt8] { parameters.reduce(into: []) { $0 += Encode.parameterStatus(name: $1.name, value: $1.value) } }
}
