/* The SDK's reader of frames, where Python can call it with memory of exactly a frame's size. */
#include "batch.h"

/* Read a frame with all its records; returns what `batch_read` returns. */
int played_batch(const uint8_t *data, size_t len);

int played_batch(const uint8_t *data, size_t len) {
    batch_t batch;
    cursor_t cursor;
    int code = batch_read(data, len, &batch);
    if (code != BATCH_READ)
        return code;
    cursor = cursor_begin(&batch);
    cursor_skip(&cursor, batch.count);
    batch_release(&batch);
    return code;
}
