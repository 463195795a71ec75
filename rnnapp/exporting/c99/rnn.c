#include "rnn.h"

#include <math.h>
#include <string.h>

#define LANES 8
#define BLOCK 16

/* Sums side by side: processors add one while another is under way, and compilers make vectors. */
static float dot(const float *a, const float *b, size_t count)
{
    float sums[LANES] = {0.0f};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++)
        sums[0] += a[i] * b[i];
    for (size_t lane = 1; lane < LANES; lane++)
        sums[0] += sums[lane];
    return sums[0];
}

static int32_t dot_bytes(const int8_t *a, const int8_t *b, size_t count)
{
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (int32_t)a[i] * b[i];
    return sum;
}

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

/* Rounds x to int8; returns the value of one unit. */
static float quantize(const float *x, size_t count, int8_t *bytes)
{
    float largest = 0.0f;
    for (size_t i = 0; i < count; i++)
        largest = larger(fabsf(x[i]), largest);
    const float units = largest > 0.0f ? 127.0f / largest : 0.0f;
    for (size_t i = 0; i < count; i++) {
        const float value = x[i] * units;
        /* A conversion of what is not a number would be undefined. */
        bytes[i] = value > -127.5f && value < 127.5f
            ? (int8_t)(value + (value < 0.0f ? -0.5f : 0.5f)) : 0;
    }
    return largest / 127.0f;
}

static void multiply_bytes(const rnn_matrix *matrix, size_t first, size_t count, const float *x,
                           const float *bias, float *y, const rnn_scratch *scratch)
{
    const size_t columns = matrix->columns;
    const int8_t *weights = matrix->bytes + first * columns;
    const float *scales = matrix->scales + first;
    const float unit = quantize(x, columns, scratch->bytes);
    for (size_t row = 0; row < count; row++, weights += columns) {
        const float product = (float)dot_bytes(weights, scratch->bytes, columns);
        y[row] = unit * scales[row] * product + (bias ? bias[row] : 0.0f);
    }
}

/* Columns of weights times x, for BLOCK rows. Their sums stay in registers, and the weights that go
 * there lie together: compilers make vectors of both, since no sum changes its order. */
static void multiply_block(const float *weights, size_t stride, const float *x, size_t columns,
                           float *y)
{
    float sums[BLOCK] = {0.0f};
    for (size_t column = 0; column < columns; column++, weights += stride)
        for (size_t i = 0; i < BLOCK; i++)
            sums[i] += weights[i] * x[column];
    for (size_t i = 0; i < BLOCK; i++)
        y[i] += sums[i];
}

static void multiply_floats(const rnn_matrix *matrix, size_t first, size_t count, const float *x,
                            const float *bias, float *y)
{
    const size_t columns = matrix->columns, stride = matrix->rows;
    const float *weights = matrix->floats + first;
    if (!bias)
        memset(y, 0, count * sizeof *y);
    else if (bias != y)
        memcpy(y, bias, count * sizeof *y);
    for (; count >= BLOCK; count -= BLOCK, weights += BLOCK, y += BLOCK)
        multiply_block(weights, stride, x, columns, y);
    for (size_t row = 0; row < count; row++)
        for (size_t column = 0; column < columns; column++)
            y[row] += weights[column * stride + row] * x[column];
}

/* As rnn_multiply, with `count` rows from `first` on. */
static void multiply_rows(const rnn_matrix *matrix, size_t first, size_t count, const float *x,
                          const float *bias, float *y, const rnn_scratch *scratch)
{
    if (matrix->bytes)
        multiply_bytes(matrix, first, count, x, bias, y, scratch);
    else
        multiply_floats(matrix, first, count, x, bias, y);
}

void rnn_multiply(const rnn_matrix *matrix, const float *x, const float *bias, float *y,
                  const rnn_scratch *scratch)
{
    multiply_rows(matrix, 0, matrix->rows, x, bias, y, scratch);
}

/* e^x = 2^n e^r with |r| <= ln 2 / 2, for |x| <= 87. Taylor's series up to r^7 / 7! misses less
 * than 6e-9 of e^r. Unlike expf, it has no branches: compilers make vectors of a loop of it. */
static float exponential(float x)
{
    const int32_t exponent = (int32_t)(x * 1.44269504f + 127.5f);  /* n + 127, as float has it */
    const float n = (float)(exponent - 127);
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;  /* the first product is exact */
    const float series = 1.0f + r * (1.0f + r * (1.0f / 2.0f + r * (1.0f / 6.0f + r * (1.0f / 24.0f
        + r * (1.0f / 120.0f + r * (1.0f / 720.0f + r * (1.0f / 5040.0f)))))));
    const uint32_t bits = (uint32_t)exponent << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return series * power;
}

void rnn_linear(const float *x, size_t count, float *y) { memmove(y, x, count * sizeof *y); }

void rnn_relu(const float *x, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = larger(x[i], 0.0f);
}

/* Between limits, in a loop of its own: the branches of a limit would spoil the next one. */
static void clip(const float *x, size_t count, float limit, float *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = smaller(larger(x[i], -limit), limit);
}

void rnn_sigmoid(const float *x, size_t count, float *y)
{
    clip(x, count, 87.0f, y);
    for (size_t i = 0; i < count; i++)
        y[i] = 1.0f / (1.0f + exponential(-y[i]));
}

void rnn_tanh(const float *x, size_t count, float *y)
{
    clip(x, count, 43.0f, y);
    for (size_t i = 0; i < count; i++)
        y[i] = 2.0f / (1.0f + exponential(-2.0f * y[i])) - 1.0f;
}

void rnn_softmax(const float *x, size_t count, float *y)
{
    float highest = x[0], sum = 0.0f;
    for (size_t i = 1; i < count; i++)
        highest = larger(highest, x[i]);
    for (size_t i = 0; i < count; i++)
        sum += y[i] = expf(x[i] - highest);
    for (size_t i = 0; i < count; i++)
        y[i] /= sum;
}

void rnn_push(float *state, size_t size, const float *x, size_t count)
{
    const size_t taken = count < size ? count : size;
    if (size == 0)
        return;  /* there may be no array, and memmove must not be given NULL */
    memmove(state, state + taken, (size - taken) * sizeof *state);
    memcpy(state + size - taken, x + count - taken, taken * sizeof *state);
}

void rnn_embed(const rnn_embedding *table, const int32_t *ids, size_t timesteps, float *y)
{
    const size_t features = table->features;
    for (size_t t = 0; t < timesteps; t++, y += features) {
        const int32_t id = ids[t] >= 0 && ids[t] < table->tokens ? ids[t] : table->unknown;
        const size_t first = (size_t)id * features;
        if (table->floats)
            memcpy(y, table->floats + first, features * sizeof *y);
        else
            for (size_t i = 0; i < features; i++)
                y[i] = table->scales[id] * (float)table->bytes[first + i];
    }
}

static void swap(float *a, float *b)
{
    const float kept = *a;
    *a = *b;
    *b = kept;
}

/* The Fourier transform of `count` complex numbers in place (Cooley and Tukey 1965), where `sines`
 * goes round in 2 * count. */
static void transform(float *x, size_t count, const float *sines)
{
    for (size_t i = 1, reversed = 0; i < count; i++) {
        size_t bit = count / 2;
        for (; reversed & bit; bit /= 2)
            reversed ^= bit;
        reversed ^= bit;
        if (i < reversed) {
            swap(x + 2 * i, x + 2 * reversed);
            swap(x + 2 * i + 1, x + 2 * reversed + 1);
        }
    }
    for (size_t size = 2; size <= count; size *= 2)
        for (size_t start = 0; start < count; start += size)
            for (size_t k = 0; k < size / 2; k++) {
                const float *turn = sines + k * (2 * count / size);
                const float s = turn[0], c = turn[count / 2];
                float *a = x + 2 * (start + k), *b = a + size;
                const float re = b[0] * c + b[1] * s, im = b[1] * c - b[0] * s;
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
}

/* The magnitudes of bins 0 .. count / 2 of the spectrum of `count` real numbers, in place. Even and
 * odd ones are transformed as the two parts of complex numbers, and parted by their symmetry. */
static void spectrum(float *x, size_t count, const float *sines)
{
    const size_t half = count / 2;
    transform(x, half, sines);
    const float first = fabsf(x[0] + x[1]), last = fabsf(x[0] - x[1]);
    for (size_t k = 1; k <= half / 2; k++) {
        float *a = x + 2 * k, *b = x + 2 * (half - k);
        const float s = sines[k], c = sines[k + count / 4];
        const float even_re = 0.5f * (a[0] + b[0]), even_im = 0.5f * (a[1] - b[1]);
        const float odd_re = 0.5f * (a[1] + b[1]), odd_im = 0.5f * (b[0] - a[0]);
        const float re = odd_re * c + odd_im * s, im = odd_im * c - odd_re * s;
        a[0] = sqrtf((even_re + re) * (even_re + re) + (even_im + im) * (even_im + im));
        b[0] = sqrtf((even_re - re) * (even_re - re) + (even_im - im) * (even_im - im));
    }
    x[0] = first;
    for (size_t k = 1; k < half; k++)
        x[k] = x[2 * k];
    x[half] = last;
}

static void log_bands(const rnn_log_mel_settings *s, const float *magnitudes, float *bands)
{
    const float *weights = s->mel_weights;
    for (size_t band = 0; band < s->num_mel_bins; band++) {
        const size_t count = s->mel_counts[band];
        bands[band] = logf(dot(weights, magnitudes + s->mel_starts[band], count) + s->floor);
        weights += count;
    }
}

void rnn_log_mel(const rnn_log_mel_settings *s, const float *samples, size_t timesteps,
                 float *tail, float *frames, const rnn_scratch *scratch)
{
    const size_t kept = s->frame_length - s->frame_step;
    float *x = scratch->floats;
    float *bands = x + s->fft_length / 2 + 1;
    for (size_t t = 0; t < timesteps; t++, samples += s->frame_step) {
        for (size_t i = 0; i < kept; i++)
            x[i] = tail[i] * s->window[i];
        for (size_t i = kept; i < s->frame_length; i++)
            x[i] = samples[i - kept] * s->window[i];
        for (size_t i = s->frame_length; i < s->fft_length; i++)
            x[i] = 0.0f;
        rnn_push(tail, kept, samples, s->frame_step);
        spectrum(x, s->fft_length, s->sines);
        if (s->dct.rows) {
            log_bands(s, x, bands);
            rnn_multiply(&s->dct, bands, NULL, frames, scratch);
            frames += s->dct.rows;
        } else {
            log_bands(s, x, frames);
            frames += s->num_mel_bins;
        }
    }
}

void rnn_running_mean(float decay, float rate, const float *x, size_t timesteps, size_t features,
                      float *mean, float *weight, float *y)
{
    for (size_t t = 0; t < timesteps; t++, x += features, y += features) {
        *weight = decay * *weight + rate;
        for (size_t i = 0; i < features; i++) {
            mean[i] = decay * mean[i] + rate * x[i];
            y[i] = x[i] - mean[i] / *weight;
        }
    }
}

/* Copies what the kernel sees from band `first` on, which may lie below 0; zeros past the edges. */
static void gather(const rnn_convolution_settings *s, const float *past, const float *x,
                   ptrdiff_t first, float *seen)
{
    const size_t kept = s->kernel_time - s->stride_time, frame = s->bands * s->channels;
    for (size_t t = 0; t < s->kernel_time; t++) {
        const float *source = t < kept ? past + t * frame : x + (t - kept) * frame;
        for (size_t i = 0; i < s->kernel_bands; i++, seen += s->channels) {
            const ptrdiff_t band = first + (ptrdiff_t)i;
            if (band < 0 || band >= (ptrdiff_t)s->bands)
                memset(seen, 0, s->channels * sizeof *seen);
            else
                memcpy(seen, source + (size_t)band * s->channels, s->channels * sizeof *seen);
        }
    }
}

void rnn_convolve(const rnn_convolution_settings *s, const float *x, size_t timesteps,
                  float *past, float *y, const rnn_scratch *scratch)
{
    const size_t kept = s->kernel_time - s->stride_time, frame = s->bands * s->channels;
    for (size_t t = 0; t < timesteps; t += s->stride_time, x += s->stride_time * frame) {
        for (size_t band = 0; band < s->output_bands; band++, y += s->kernel.rows) {
            const ptrdiff_t first = (ptrdiff_t)(band * s->stride_bands) - (ptrdiff_t)s->padding;
            gather(s, past, x, first, scratch->floats);
            rnn_multiply(&s->kernel, scratch->floats, s->bias, y, scratch);
            rnn_relu(y, s->kernel.rows, y);
        }
        rnn_push(past, kept * frame, x, s->stride_time * frame);
    }
}

void rnn_simple_rnn(const rnn_gates *g, const float *x, float *h, const rnn_scratch *scratch)
{
    float *sums = scratch->floats;
    rnn_multiply(&g->input, x, g->bias, sums, scratch);
    rnn_multiply(&g->recurrent, h, sums, sums, scratch);
    g->activation(sums, g->units, h);
}

void rnn_lstm(const rnn_gates *g, const float *x, float *h, float *c, const rnn_scratch *scratch)
{
    const size_t units = g->units;
    float *i = scratch->floats, *f = i + units, *candidate = f + units, *o = candidate + units;
    rnn_multiply(&g->input, x, g->bias, i, scratch);  /* all four, one after another */
    rnn_multiply(&g->recurrent, h, i, i, scratch);
    g->recurrent_activation(i, 2 * units, i);
    g->activation(candidate, units, candidate);
    g->recurrent_activation(o, units, o);
    for (size_t k = 0; k < units; k++)
        c[k] = f[k] * c[k] + i[k] * candidate[k];
    g->activation(c, units, h);
    for (size_t k = 0; k < units; k++)
        h[k] *= o[k];
}

void rnn_gru(const rnn_gates *g, const float *x, float *h, const rnn_scratch *scratch)
{
    const size_t units = g->units;
    float *z = scratch->floats, *r = z + units, *candidate = r + units, *of_h = candidate + units;
    rnn_multiply(&g->input, x, g->bias, z, scratch);  /* all three, one after another */
    rnn_multiply(&g->recurrent, h, g->recurrent_bias, of_h, scratch);
    for (size_t i = 0; i < 2 * units; i++)
        z[i] += of_h[i];
    g->recurrent_activation(z, 2 * units, z);
    for (size_t i = 0; i < units; i++)
        candidate[i] += r[i] * of_h[2 * units + i];
    g->activation(candidate, units, candidate);
    for (size_t i = 0; i < units; i++)
        h[i] = z[i] * h[i] + (1.0f - z[i]) * candidate[i];
}

void rnn_gru_reset_before(const rnn_gates *g, const float *x, float *h, const rnn_scratch *scratch)
{
    const size_t units = g->units;
    float *z = scratch->floats, *r = z + units, *candidate = r + units, *reset = candidate + units;
    rnn_multiply(&g->input, x, g->bias, z, scratch);  /* all three, one after another */
    multiply_rows(&g->recurrent, 0, 2 * units, h, z, z, scratch);
    g->recurrent_activation(z, 2 * units, z);
    for (size_t i = 0; i < units; i++)
        reset[i] = r[i] * h[i];
    multiply_rows(&g->recurrent, 2 * units, units, reset, candidate, candidate, scratch);
    g->activation(candidate, units, candidate);
    for (size_t i = 0; i < units; i++)
        h[i] = z[i] * h[i] + (1.0f - z[i]) * candidate[i];
}

void rnn_layer_norm(const float *gamma, const float *beta, float epsilon, const float *x,
                    size_t timesteps, size_t features, float *y)
{
    for (size_t t = 0; t < timesteps; t++, x += features, y += features) {
        float mean = 0.0f, variance = 0.0f;
        for (size_t i = 0; i < features; i++)
            mean += x[i];
        mean /= (float)features;
        for (size_t i = 0; i < features; i++)
            variance += (x[i] - mean) * (x[i] - mean);
        const float scale = 1.0f / sqrtf(variance / (float)features + epsilon);
        for (size_t i = 0; i < features; i++)
            y[i] = (x[i] - mean) * scale * (gamma ? gamma[i] : 1.0f) + (beta ? beta[i] : 0.0f);
    }
}

void rnn_affine(const float *scale, const float *offset, const float *x, size_t timesteps,
               size_t features, float *y)
{
    for (size_t t = 0; t < timesteps; t++, x += features, y += features)
        for (size_t i = 0; i < features; i++)
            y[i] = scale[i] * x[i] + offset[i];
}

void rnn_mean(const float *frames, const float *heard, size_t window, size_t features, float *y)
{
    float count = 0.0f;
    memset(y, 0, features * sizeof *y);
    for (size_t t = 0; t < window; t++, frames += features) {
        if (heard[t] < 0.5f)
            continue;
        count += 1.0f;
        for (size_t i = 0; i < features; i++)
            y[i] += frames[i];
    }
    for (size_t i = 0; i < features; i++)
        y[i] /= larger(count, 1.0f);
}

void rnn_max(const float *frames, const float *heard, size_t window, size_t features, float *y)
{
    for (size_t i = 0; i < features; i++)
        y[i] = -INFINITY;
    for (size_t t = 0; t < window; t++, frames += features)
        for (size_t i = 0; heard[t] > 0.5f && i < features; i++)
            y[i] = larger(frames[i], y[i]);
}

/* One head: the mean of a slice of the frames, weighted by the softmax of their products with
 * `focus`. The softmax is taken in passing: a new highest score fades what was summed before. */
static void attend_head(const rnn_attention_settings *s, const float *frames, const float *heard,
                        const float *focus, size_t offset, float *y)
{
    const size_t size = s->features / s->heads;
    float highest = -INFINITY, total = 0.0f;
    memset(y, 0, size * sizeof *y);
    for (size_t t = 0; t < s->window; t++, frames += s->features) {
        if (heard[t] < 0.5f)
            continue;
        const float score = dot(focus, frames, s->features) / sqrtf((float)size);
        const float fade = score > highest ? expf(highest - score) : 1.0f;
        highest = larger(highest, score);
        const float share = expf(score - highest);
        total = total * fade + share;
        for (size_t i = 0; i < size; i++)
            y[i] = y[i] * fade + share * frames[offset + i];
    }
    for (size_t i = 0; i < size; i++)
        y[i] /= total;
}

void rnn_attend(const rnn_attention_settings *s, const float *frames, const float *heard,
                float *y, const rnn_scratch *scratch)
{
    const size_t size = s->features / s->heads;
    float *query = scratch->floats, *focus = query + s->features;
    rnn_multiply(&s->query, frames + (s->window - 1) * s->features, s->query_bias, query, scratch);
    for (size_t head = 0; head < s->heads; head++) {
        /* The query goes through the key's kernel once, not every frame; the key's bias adds the
         * same to every score of a head, which a softmax does not see. */
        multiply_rows(&s->key, head * s->features, s->features, query + head * size, NULL, focus,
                      scratch);
        attend_head(s, frames, heard, focus, head * size, y + head * size);
    }
}
