"""The embedded model's small text encoder: a WordPiece vocabulary and a two-layer BERT."""

from pathlib import Path

from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel, BertTokenizer

from recipes.embedded_model.data import PHRASES, RealImage, without_modality_words

WIDTH = 128  # of the encoder and of the U-Net's cross-attention
NUM_TOKENS = 40  # of a prompt; the separate encoding gives 10 to the modality and 30 to the text
VOCABULARY_SIZE = 700


def train_tokenizer(images: list[RealImage], folder: Path) -> BertTokenizer:
    """Learn the vocabulary from captions, phrases and modality names; save it to `folder`."""
    corpus = sorted({without_modality_words(image.caption) for image in images})
    corpus += sorted({phrase for phrases in PHRASES.values() for phrase in phrases})
    corpus += sorted({f"{image.modality}: {image.caption}" for image in images})
    learner = BertWordPieceTokenizer(lowercase=True)
    learner.train_from_iterator(corpus, vocab_size=VOCABULARY_SIZE, min_frequency=1)
    folder.mkdir(parents=True, exist_ok=True)
    learner.save_model(str(folder))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=NUM_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def new_text_encoder(vocabulary_size: int) -> BertModel:
    """Return an untrained encoder (0.4 M weights)."""
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=2 * NUM_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.use_attention_mask = True  # the stock pipeline then masks the padding inside the encoder
    return BertModel(config, add_pooling_layer=False)
