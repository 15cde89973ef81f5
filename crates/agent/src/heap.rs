//! The C library's heap, told to stay small: an agent has a dozen threads that hardly allocate at
//! the same time, and each would get an arena of its own, which keeps what it once took.
#![expect(unsafe_code, reason = "mallopt and malloc_trim are C functions without a safe wrapper")]

/// Limits the heap to one arena. Called before any thread is made.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and touches only the allocator's own settings.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives pages that are free back to the kernel: called after the start, whose parsing takes and
/// frees much at once.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
