/* Included before each file of sidecar/records/native: memory that runs out when a test says so. */
#ifndef PLAYED_FAILING_H
#define PLAYED_FAILING_H

#include <stdlib.h>
#include <string.h>

void *failing_malloc(size_t size);
void *failing_calloc(size_t count, size_t size);
char *failing_strdup(const char *text);
char *failing_strndup(const char *text, size_t size);

#undef strdup
#undef strndup
#define malloc failing_malloc
#define calloc failing_calloc
#define strdup failing_strdup
#define strndup failing_strndup

#endif
