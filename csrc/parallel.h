/* A loop over numbered pieces, shared by threads. Pieces must not depend on each other. */
#ifndef ROMAN_PARALLEL_H
#define ROMAN_PARALLEL_H

#include <stdint.h>

/* Calls piece(context, k) once for every k of 0 .. pieces - 1, on up to `threads` threads. Where a thread
 * cannot be started, the others do its share. */
void roman_parallel(int threads, int64_t pieces, void (*piece)(void *context, int64_t k), void *context);

#endif
