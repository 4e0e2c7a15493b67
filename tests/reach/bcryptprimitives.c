/* Wine 8 lacks this library of Windows, which Rust's standard library takes its random numbers from. */
unsigned char __stdcall SystemFunction036(void *buffer, unsigned long size); /* RtlGenRandom, of advapi32 */

__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *buffer, unsigned long long size) {
    return SystemFunction036(buffer, (unsigned long)size);
}
