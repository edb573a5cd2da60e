//! Links the firmware with its own panic handler and allocator, and no `std`.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};

use nicfw as _;

struct NoMemory;

// SAFETY: it never returns memory.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Where the program would begin; it is only ever linked.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {}
}

/// The compiled `alloc` refers to it for unwinding, which this program never does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
