import Foundation

/// SASLprep (RFC 4013) as PostgreSQL applies it to passwords before SCRAM derives keys from them.
///
/// PostgreSQL differs from the RFC on purpose: a password that is not UTF-8, or that the RFC would refuse, is taken byte
/// by byte as it is, and prohibited characters are looked for before normalization. Both sides have to do the same, or
/// the same password gives different keys. Slow beside ASCII, so for the Dispatch pool only; Foundation is here for NFKC.
enum SASLPrep {
  /// The bytes to derive from, or `nil` if they are `password` unchanged: ASCII, not UTF-8 or not allowed.
  static func prepared(_ password: UnsafeRawBufferPointer) -> [UInt8]? {
    guard !password.allSatisfy({ $0 < 0x80 }), let text = String(validating: password, as: UTF8.self) else {
      return nil
    }
    let mapped = text.unicodeScalars.compactMap { scalar -> Unicode.Scalar? in
      if StringPrep.nonASCIISpace.contains(scalar) { return " " }
      return StringPrep.mappedToNothing.contains(scalar) ? nil : scalar
    }
    guard !mapped.isEmpty, mapped.allSatisfy(isAllowed), isBidirectionallySound(mapped) else { return nil }
    var joined = String.UnicodeScalarView()
    joined.append(contentsOf: mapped)
    return Array(String(joined).precomposedStringWithCompatibilityMapping.utf8)
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    !StringPrep.prohibited.contains(scalar) && isAssignedInUnicode32(scalar)
  }

  /// Table A.1 lists what Unicode 3.2 left unassigned.
  private static func isAssignedInUnicode32(_ scalar: Unicode.Scalar) -> Bool {
    guard let age = scalar.properties.age else { return false }
    return (age.major, age.minor) <= (3, 2)
  }

  /// RFC 3454 section 6: text with right-to-left letters begins and ends with one and has no left-to-right ones.
  private static func isBidirectionallySound(_ scalars: [Unicode.Scalar]) -> Bool {
    let rightToLeft = StringPrep.rightToLeft
    guard let first = scalars.first, let last = scalars.last, scalars.contains(where: rightToLeft.contains) else {
      return true
    }
    return rightToLeft.contains(first) && rightToLeft.contains(last)
      && !scalars.contains(where: StringPrep.leftToRight.contains)
  }
}
