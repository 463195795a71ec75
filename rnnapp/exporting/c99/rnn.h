/* Kernels of recurrent models, a step of a stream at a time: C99, no allocation, no state but the
 * caller's.
 *
 * Arrays are row-major, (timesteps, features) or (timesteps, bands, channels). Inputs and outputs
 * never overlap unless a function says so. Numbers must be finite.
 */
#ifndef RNN_H
#define RNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Weights with a row for each output: float, or int8 with a scale for each row. */
typedef struct {
    size_t rows, columns;
    const float *floats;  /* (columns, rows), transposed for vectors; NULL if int8 */
    const int8_t *bytes;  /* (rows, columns); NULL if float */
    const float *scales;  /* (rows); NULL if float */
} rnn_matrix;

/* Room for a kernel to work in; nothing is kept there. */
typedef struct {
    float *floats;
    int8_t *bytes;  /* as many as the longest row of an int8 matrix; NULL if there is none */
} rnn_scratch;

/* y = activation(x); `y` may be `x`. The last two are off by 2e-7 at most, wherever x lies. */
typedef void (*rnn_activation)(const float *x, size_t count, float *y);
void rnn_linear(const float *x, size_t count, float *y);
void rnn_relu(const float *x, size_t count, float *y);
void rnn_sigmoid(const float *x, size_t count, float *y);
void rnn_tanh(const float *x, size_t count, float *y);

/* y = matrix x + bias. `bias` may be NULL, or `y` itself, to which the product is then added.
 * With int8 weights x is rounded to int8 by its own scale, and products are summed in int32: exact
 * for up to 133,000 columns. */
void rnn_multiply(const rnn_matrix *matrix, const float *x, const float *bias, float *y,
                  const rnn_scratch *scratch);

/* y = softmax(x); `y` may be `x`. */
void rnn_softmax(const float *x, size_t count, float *y);

/* Moves `count` new numbers in at the end of a state of `size`, and the oldest out. A state of size
 * 0 may be NULL, here and below. */
void rnn_push(float *state, size_t size, const float *x, size_t count);

/* A vector for each token: float, or int8 with a scale for each. */
typedef struct {
    int32_t tokens, unknown;  /* the id that stands for those below 0, or of `tokens` and above */
    size_t features;
    const float *floats;      /* (tokens, features); NULL if int8 */
    const int8_t *bytes;      /* (tokens, features); NULL if float */
    const float *scales;      /* (tokens); NULL if float */
} rnn_embedding;

/* Maps token ids (timesteps) to y (timesteps, features). */
void rnn_embed(const rnn_embedding *table, const int32_t *ids, size_t timesteps, float *y);

/* Log-mel or MFCC frames of a waveform. */
typedef struct {
    size_t frame_length, frame_step;
    size_t fft_length;            /* a power of two, at least 2 */
    size_t num_mel_bins;
    float floor;                  /* added to a magnitude before its logarithm */
    const float *window;          /* (frame_length) */
    const float *sines;           /* sin(2 pi i / fft_length), (3 fft_length / 4) */
    const uint16_t *mel_starts;   /* first bin of the spectrum in a band, (num_mel_bins) */
    const uint16_t *mel_counts;   /* bins in a band, (num_mel_bins) */
    const float *mel_weights;     /* one band after another, (sum of mel_counts) */
    rnn_matrix dct;               /* (coefficients, num_mel_bins); no rows for log-mel */
} rnn_log_mel_settings;

/* Maps (timesteps * frame_step) samples to (timesteps, features).
 * State: tail (frame_length - frame_step). Scratch: fft_length, and at least
 * fft_length / 2 + 1 + num_mel_bins for MFCC. */
void rnn_log_mel(const rnn_log_mel_settings *s, const float *samples, size_t timesteps,
                 float *tail, float *frames, const rnn_scratch *scratch);

/* Takes off each feature its forgetting mean, in which a timestep counts `rate` and the past
 * `decay`. State: mean (features), weight (1). */
void rnn_running_mean(float decay, float rate, const float *x, size_t timesteps, size_t features,
                      float *mean, float *weight, float *y);

/* A causal convolution over (time, bands) with its normalisation folded in, and ReLU. */
typedef struct {
    size_t bands, channels, output_bands;
    size_t kernel_time, kernel_bands, stride_time, stride_bands;
    size_t padding;      /* zero bands below the first */
    rnn_matrix kernel;   /* (filters, kernel_time * kernel_bands * channels) */
    const float *bias;   /* (filters) */
} rnn_convolution_settings;

/* Maps (timesteps, bands, channels) to (timesteps / stride_time, output_bands, filters).
 * State: past (kernel_time - stride_time, bands, channels). Scratch: kernel.columns. */
void rnn_convolve(const rnn_convolution_settings *s, const float *x, size_t timesteps,
                  float *past, float *y, const rnn_scratch *scratch);

/* The weights of a recurrent layer, gates one after another as Keras has them: z, r, h (GRU) and
 * i, f, c, o (LSTM). */
typedef struct {
    size_t units;
    rnn_matrix input;             /* (gates * units, features) */
    rnn_matrix recurrent;         /* (gates * units, units) */
    const float *bias;            /* (gates * units), or NULL */
    const float *recurrent_bias;  /* (gates * units), or NULL: of a GRU that resets after */
    rnn_activation activation, recurrent_activation;
} rnn_gates;

/* One timestep x (features) of a recurrent layer, which moves its states h and c (units) on: its
 * output is h. Scratch: units (simple RNN), 4 units (LSTM), 6 units (GRU). */
void rnn_simple_rnn(const rnn_gates *g, const float *x, float *h, const rnn_scratch *scratch);
void rnn_lstm(const rnn_gates *g, const float *x, float *h, float *c, const rnn_scratch *scratch);

/* A GRU whose reset gate acts on the recurrent product (reset_after), or on the state before. */
void rnn_gru(const rnn_gates *g, const float *x, float *h, const rnn_scratch *scratch);
void rnn_gru_reset_before(const rnn_gates *g, const float *x, float *h,
                          const rnn_scratch *scratch);

/* Each timestep to mean 0 and variance 1, times `gamma` plus `beta`, (features) or NULL each. */
void rnn_layer_norm(const float *gamma, const float *beta, float epsilon, const float *x,
                    size_t timesteps, size_t features, float *y);

/* y = scale x + offset for each timestep; both (features). */
void rnn_affine(const float *scale, const float *offset, const float *x, size_t timesteps,
               size_t features, float *y);

/* Mean and maximum of the frames (window, features) that were heard: those whose `heard` is 1. */
void rnn_mean(const float *frames, const float *heard, size_t window, size_t features, float *y);
void rnn_max(const float *frames, const float *heard, size_t window, size_t features, float *y);

/* Multi-head attention over frames, with the last one as the query. */
typedef struct {
    size_t window, features, heads;
    rnn_matrix query;         /* (features, features) */
    const float *query_bias;  /* (features) */
    rnn_matrix key;           /* (heads * features, features / heads): transposed, head by head */
} rnn_attention_settings;

/* Maps frames (window, features), those heard of them, to y (features). Scratch: 2 features. */
void rnn_attend(const rnn_attention_settings *s, const float *frames, const float *heard,
                float *y, const rnn_scratch *scratch);

#ifdef __cplusplus
}
#endif

#endif
