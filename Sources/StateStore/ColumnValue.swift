import Foundation

/// A value of a column, as SQLite and PostgreSQL both have it.
public enum ColumnValue: Sendable, Equatable {
  case null
  case integer(Int64)
  case real(Double)
  case text(String)
  case blob(Data)
}

/// A Swift value that a column can hold.
public protocol ColumnConvertible: Sendable {
  var columnValue: ColumnValue { get }
  /// `nil` if the column holds something else.
  init?(columnValue: ColumnValue)
}

extension String: ColumnConvertible {
  public var columnValue: ColumnValue { .text(self) }
  public init?(columnValue: ColumnValue) {
    guard case .text(let text) = columnValue else { return nil }
    self = text
  }
}

extension Int64: ColumnConvertible {
  public var columnValue: ColumnValue { .integer(self) }
  public init?(columnValue: ColumnValue) {
    guard case .integer(let number) = columnValue else { return nil }
    self = number
  }
}

extension Int: ColumnConvertible {
  public var columnValue: ColumnValue { .integer(Int64(self)) }
  public init?(columnValue: ColumnValue) {
    guard case .integer(let number) = columnValue, let value = Int(exactly: number) else { return nil }
    self = value
  }
}

extension Double: ColumnConvertible {
  public var columnValue: ColumnValue { .real(self) }
  public init?(columnValue: ColumnValue) {
    switch columnValue {
    case .real(let number): self = number
    // SQLite stores a number without fraction as an integer where it may.
    case .integer(let number): self = Double(number)
    default: return nil
    }
  }
}

extension Data: ColumnConvertible {
  public var columnValue: ColumnValue { .blob(self) }
  public init?(columnValue: ColumnValue) {
    guard case .blob(let data) = columnValue else { return nil }
    self = data
  }
}

extension Optional: ColumnConvertible where Wrapped: ColumnConvertible {
  public var columnValue: ColumnValue { self?.columnValue ?? .null }
  public init?(columnValue: ColumnValue) {
    if columnValue == .null {
      self = .none
    } else {
      guard let value = Wrapped(columnValue: columnValue) else { return nil }
      self = .some(value)
    }
  }
}

/// The values for a statement's `?`, in their order.
public struct Arguments: Sendable, ExpressibleByArrayLiteral {
  let values: [ColumnValue]

  public init(arrayLiteral elements: any ColumnConvertible...) { values = elements.map(\.columnValue) }
}
