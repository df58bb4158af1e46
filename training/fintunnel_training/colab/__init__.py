"""What the cells of `colab_launch.ipynb` call: the notebook holds no logic of its own."""
