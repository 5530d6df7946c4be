/* Wine 8 lacks the DLL from which Rust's standard library takes random bytes. For tests under Wine only: Windows has its
 * own, and no released program comes with this one. RtlGenRandom goes by the name SystemFunction036. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    return SystemFunction036(buffer, (ULONG)length);
}
