/// `teleport.reactor`: which of the kernel's interfaces the data path uses.
public enum ReactorInterface: String, Sendable {
  /// io_uring where the process may use it, else epoll.
  case auto
  /// io_uring, or no start.
  case ioUring = "io_uring"
  case epoll
}
