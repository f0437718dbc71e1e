//! Threads that work in the background give way to those that answer requests.

/// How much lower the priority of such a thread is, as `nice` counts it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Lowers the priority of the current thread for the rest of its life. Where that cannot be done nothing
/// else changes.
pub(crate) fn lower() {
    #[cfg(target_os = "linux")]
    {
        // On Linux a priority is a thread's, and threads are named like processes.
        let thread = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(thread), NICENESS);
    }
}
