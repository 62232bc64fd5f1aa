/// By which of the kernel's interfaces a reactor works.
public enum KernelInterface: String, Sendable {
  case epoll
  case ioUring = "io_uring"

  /// io_uring where this process may use it, else epoll.
  ///
  /// Tries it out by making a ring, so that a kernel without it, `kernel.io_uring_disabled`, a seccomp filter (as container
  /// runtimes have it) and a memory limit are all found out. Blocks for well under a millisecond.
  ///
  /// - Returns: with epoll, what stood in io_uring's way.
  public static func best() -> (interface: KernelInterface, obstacle: SystemError?) {
    do throws(SystemError) {
      _ = try UringBackend()
      return (.ioUring, nil)
    } catch {
      return (.epoll, error)
    }
  }
}

/// Holds a back end that is not one of this module's, so that each case of `Backend` is one reference.
final class InjectedBackend {
  let backend: any CompletionBackend

  init(_ backend: any CompletionBackend) { self.backend = backend }
}

/// The back end of one reactor. An enum rather than an existential or a generic reactor: its cases are final classes, so
/// that a call is a predictable branch and a direct call, and channels need not know which it is.
enum Backend {
  case epoll(EpollBackend)
  case ioUring(UringBackend)
  /// Never taken in the programs: a simulated kernel, under test.
  case injected(InjectedBackend)

  init(_ interface: KernelInterface) throws(SystemError) {
    switch interface {
    case .epoll: self = .epoll(try EpollBackend())
    case .ioUring: self = .ioUring(try UringBackend())
    }
  }

  @inline(__always)
  var now: UInt64 {
    switch self {
    case .epoll(let backend): backend.now
    case .ioUring(let backend): backend.now
    case .injected(let injected): injected.backend.now
    }
  }

  var sockets: any SocketSource {
    switch self {
    case .epoll(let backend): backend.sockets
    case .ioUring(let backend): backend.sockets
    case .injected(let injected): injected.backend.sockets
    }
  }

  var waker: Waker {
    switch self {
    case .epoll(let backend): backend.waker
    case .ioUring(let backend): backend.waker
    case .injected(let injected): injected.backend.waker
    }
  }

  func register(_ descriptor: Int32, as handle: Handle) throws(SystemError) {
    switch self {
    case .epoll(let backend): try backend.register(descriptor, as: handle)
    case .ioUring(let backend): try backend.register(descriptor, as: handle)
    case .injected(let injected): try injected.backend.register(descriptor, as: handle)
    }
  }

  func accept(_ handle: Handle) {
    switch self {
    case .epoll(let backend): backend.accept(handle)
    case .ioUring(let backend): backend.accept(handle)
    case .injected(let injected): injected.backend.accept(handle)
    }
  }

  func connect(_ handle: Handle, to address: SocketAddress) {
    switch self {
    case .epoll(let backend): backend.connect(handle, to: address)
    case .ioUring(let backend): backend.connect(handle, to: address)
    case .injected(let injected): injected.backend.connect(handle, to: address)
    }
  }

  func receive(_ handle: Handle) {
    switch self {
    case .epoll(let backend): backend.receive(handle)
    case .ioUring(let backend): backend.receive(handle)
    case .injected(let injected): injected.backend.receive(handle)
    }
  }

  func pause(_ handle: Handle) {
    switch self {
    case .epoll(let backend): backend.pause(handle)
    case .ioUring(let backend): backend.pause(handle)
    case .injected(let injected): injected.backend.pause(handle)
    }
  }

  @inline(__always)
  func send(_ handle: Handle, _ bytes: UnsafeRawBufferPointer) {
    switch self {
    case .epoll(let backend): backend.send(handle, bytes)
    case .ioUring(let backend): backend.send(handle, bytes)
    case .injected(let injected): injected.backend.send(handle, bytes)
    }
  }

  func shutdownWrite(_ handle: Handle) {
    switch self {
    case .epoll(let backend): backend.shutdownWrite(handle)
    case .ioUring(let backend): backend.shutdownWrite(handle)
    case .injected(let injected): injected.backend.shutdownWrite(handle)
    }
  }

  func close(_ handle: Handle, keeping owner: AnyObject?) {
    switch self {
    case .epoll(let backend): backend.close(handle, keeping: owner)
    case .ioUring(let backend): backend.close(handle, keeping: owner)
    case .injected(let injected): injected.backend.close(handle, keeping: owner)
    }
  }

  func finish() {
    switch self {
    case .epoll(let backend): backend.finish()
    case .ioUring(let backend): backend.finish()
    case .injected(let injected): injected.backend.finish()
    }
  }

  @inline(__always)
  func poll(timeoutMilliseconds: Int32, awoke: () -> Void, deliver: (Handle, Completion) -> Void) {
    switch self {
    case .epoll(let backend): backend.poll(timeoutMilliseconds: timeoutMilliseconds, awoke: awoke, deliver: deliver)
    case .ioUring(let backend): backend.poll(timeoutMilliseconds: timeoutMilliseconds, awoke: awoke, deliver: deliver)
    case .injected(let injected):
      injected.backend.poll(timeoutMilliseconds: timeoutMilliseconds, awoke: awoke, deliver: deliver)
    }
  }
}
